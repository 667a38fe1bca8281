"""Restoration of photographs of any size with a ticket: pad, tile, run, blend, crop."""

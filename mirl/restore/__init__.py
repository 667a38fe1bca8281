"""Ticket in, photographs of any size restored: pad, tile, run, blend, crop."""

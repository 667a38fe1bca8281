"""Restoration of pictures over HTTP: one process restores, a bounded queue waits for it, everything has a limit."""

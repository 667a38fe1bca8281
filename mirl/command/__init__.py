"""The `mirl` command line."""

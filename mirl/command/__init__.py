"""The `mirl` command: what people type."""

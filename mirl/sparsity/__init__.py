"""Masks and the arithmetic that makes them: scores, scope, schedule. No training, no files, no networks."""

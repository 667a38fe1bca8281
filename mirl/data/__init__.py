"""Photographs: importers -> manifest (Parquet) -> packed pixels (Arrow) -> batches; degradations."""

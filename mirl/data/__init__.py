"""Data of a study: importers -> manifest (Parquet) -> packed pixels (Arrow) -> batches; degradations."""

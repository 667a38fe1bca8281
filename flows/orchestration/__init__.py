"""The Prefect flow over DVC's graph: each stage is done once, on whichever machine, and nothing is lost by a kill."""

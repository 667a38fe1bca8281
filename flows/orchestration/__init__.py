"""Prefect flow over DVC's graph: each stage is made once, on any of the machines, and nothing is lost by a kill."""

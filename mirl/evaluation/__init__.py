"""Evaluation: metrics, protocols, scores, collapse, the winning rule, the comparison and its report."""

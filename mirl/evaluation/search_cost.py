"""Cost of a search: the trainings of a ticket's whole lineage, each counted once."""

from collections.abc import Mapping

SUMMED = ("steps", "samples", "train_flops", "train_flops_dense", "train_seconds", "train_joules")
"""Metrics of a ticket that are summed; if one ticket of a lineage lacks a metric, its sum is not known."""


def search_costs(
    tickets: Mapping[str, tuple[str, Mapping[str, float]]], reference: str
) -> dict[str, dict[str, float]]:
    """Return for each ticket `search/<metric>`, summed over the ticket and those that it was made from.

    `tickets`: name -> (parent's name, metrics), parents first; a parent that is no ticket here (the untrained
    network) costs nothing. `search/dense_trainings` is the sum of steps in trainings as long as the reference's.
    """
    sums: dict[str, dict[str, float]] = {}
    for name, (parent, metrics) in tickets.items():
        own = {what: metrics[what] for what in SUMMED if what in metrics}
        if parent in sums:
            before = sums[parent]
            own = {what: value + before[what] for what, value in own.items() if what in before}
        sums[name] = own
    steps = tickets[reference][1].get("steps", 0)
    found = {name: {f"search/{what}": value for what, value in own.items()} for name, own in sums.items()}
    for own in found.values():
        if steps and "search/steps" in own:
            own["search/dense_trainings"] = own["search/steps"] / steps
    return found

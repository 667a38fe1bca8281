"""Facts that follow from the sealed lineages of a study's tickets together."""

from collections.abc import Mapping

from pydantic import ValidationError

from mirl.methods import planner, remembered
from mirl.tickets.lineage import Lineage


def weight_steps(lineages: Mapping[str, Lineage]) -> dict[str, int | None]:
    """Map the digest of each ticket to the optimiser steps of its weights since their initialisation.

    `lineages` maps the digest of each ticket's file to its lineage, parents first. The steps are None if they are not
    known: the weights continue from a ticket that is missing or whose steps are not known, or the settings cannot be
    read.
    """
    found: dict[str, int | None] = {}
    for digest, lineage in lineages.items():
        found[digest] = _steps(lineage, found)
    return found


def _steps(lineage: Lineage, known: Mapping[str, int | None]) -> int | None:
    match _continues(lineage):
        case True:  # the untrained network, which has round 0, has gone through none
            before = 0 if lineage.round == 1 else known.get(lineage.parent)
        case False:
            before = lineage.origin_step
        case None:
            before = None
    return None if before is None else before + lineage.steps


def _continues(lineage: Lineage) -> bool | None:
    """Return whether the weights continue from the parent's; None if this mirl does not know the arm's settings."""
    try:
        return planner(remembered(lineage.settings.get("arm", {}))).continues
    except ValidationError:
        return None

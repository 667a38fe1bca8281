"""What the sealed lineages of a study's tickets say together."""

from collections.abc import Mapping

from pydantic import ValidationError

from mirl.methods import planner, remembered
from mirl.tickets.lineage import Lineage


def weight_steps(lineages: Mapping[str, Lineage]) -> dict[str, int | None]:
    """Digest of each ticket -> optimiser steps that its weights have gone through since their initialisation.

    `lineages`: digest of each ticket's file -> its lineage, parents first. None: it is not known, because the weights go on
    from those of a ticket that is not there or of which it is not known, or because the settings cannot be read.
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
    """Whether the weights go on from the parent's; None: the settings are not those of an arm that this mirl knows."""
    try:
        return planner(remembered(lineage.settings.get("arm", {}))).continues
    except ValidationError:
        return None

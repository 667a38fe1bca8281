"""Rounds of a study in this process, without DVC: for machines that are only lent, and for many seeds."""

from collections.abc import Sequence

from mirl.study.params import ROOT_TICKET
from mirl.study.stages import STAGES
from mirl.study.study import Study


def train_missing(study: Study, keys: Sequence[str]) -> None:
    """Train each round of `keys` (in their order) whose ticket is not there yet; a training that was killed goes on."""
    if not study.files.ticket(ROOT_TICKET).exists():
        STAGES["init"](study, "")
    for key in keys:
        if not study.files.ticket(key).exists():
            STAGES["round"](study, key)


def score_missing(study: Study, keys: Sequence[str]) -> None:
    """Score each ticket of `keys` that has no scores yet."""
    for key in keys:
        if not study.files.scores(key).exists():
            STAGES["evaluate"](study, key)

"""Every ticket of a study beside its dense parent and its controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from mirl.config import UserError
from mirl.evaluation.collapse import Finding
from mirl.evaluation.scoring import ExamplePicture, summary
from mirl.evaluation.search_cost import search_costs
from mirl.evaluation.winning import Difference, RuleSection, Verdict, difference, verdict
from mirl.methods import Role


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is known of one ticket: its place in the study, its numbers, and what the report shows of it."""

    name: str
    arm: str
    method: str
    role: Role
    """What the method's tickets are for."""
    round: int
    parent: str = ""
    """Name of the ticket it was made from."""
    device: str = ""
    """What trained it, in words."""
    sha256: str = ""
    """Of the ticket file."""
    metrics: Mapping[str, float]
    """Of the ticket's metrics.json: density/prunable, density/all, params/kept, macs_g, ticket_mb ..."""
    scores: pd.DataFrame
    """The table of `score`."""
    findings: Sequence[Finding] = ()
    layer_density: Mapping[str, float] = field(default_factory=dict)
    """Kept fraction of each prunable parameter."""
    history: pd.DataFrame | None = None
    """The training curve: step, loss, learning_rate, gradient_norm."""
    pictures: Sequence[ExamplePicture] = ()

    @property
    def density(self) -> float:
        """Kept fraction of the prunable weights."""
        return self.metrics["density/prunable"]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A ticket and what the winning rule says of it."""

    candidate: Candidate
    quality: Mapping[str, float]
    """The summary of its scores under the deciding protocol."""
    difference: Difference
    """To the reference."""
    verdict: Verdict
    controls: Mapping[str, bool]
    """Name of each control that stands beside it -> whether it holds its ground, see `_holds`."""
    search: Mapping[str, float]
    """What the whole search up to it has cost, see `search_costs`."""

    @property
    def beats_controls(self) -> bool | None:
        """Whether it holds its ground against every control; None where none stands beside it."""
        return all(self.controls.values()) if self.controls else None

    @property
    def collapsed(self) -> bool:
        return self.verdict.word == "collapsed"


def assess(candidates: Sequence[Candidate], rule: RuleSection) -> list[Assessment]:
    """The winning rule applied to every ticket, in the order given; UserError without a reference."""
    reference = next((c for c in candidates if c.name == rule.reference), None)
    if reference is None:
        names = ", ".join(candidate.name for candidate in candidates) or "none"
        raise UserError(
            f"the reference ticket `{rule.reference}` was not scored (scored: {names}); evaluate it first"
        )
    controls = [candidate for candidate in candidates if candidate.role == "control"]
    costs = search_costs({c.name: (c.parent, c.metrics) for c in candidates}, reference.name)
    return [
        _assess_one(candidate, reference, controls, rule, costs[candidate.name]) for candidate in candidates
    ]


def compare(assessments: Sequence[Assessment]) -> pd.DataFrame:
    """The table of a study, one row a ticket, in the order given."""
    return pd.DataFrame([_row(entry) for entry in assessments])


def _assess_one(
    candidate: Candidate,
    reference: Candidate,
    controls: Sequence[Candidate],
    rule: RuleSection,
    search: Mapping[str, float],
) -> Assessment:
    found = difference(candidate.scores, reference.scores, rule)
    if candidate is reference:
        word = Verdict(word="reference", reason="the others are compared with it")
    else:
        word = verdict(found, candidate.findings, reference.findings, rule)
    stands_alone = candidate in controls or candidate is reference
    held = {} if stands_alone else {c.name: _holds(candidate, c, reference, rule) for c in controls}
    return Assessment(
        candidate=candidate,
        quality=summary(candidate.scores, rule.protocol),
        difference=found,
        verdict=word,
        controls={name: holds for name, holds in held.items() if holds is not None},
        search=search,
    )


def _holds(ticket: Candidate, control: Candidate, reference: Candidate, rule: RuleSection) -> bool | None:
    """Whether a ticket beats a control of its density, or matches one of the reference's that was trained no longer.

    The second is the reference trained on: a ticket whose weights were not rewound has had more training than the
    reference, which alone may be why it is better. None where the control does not stand beside the ticket.
    """
    if _same_density(ticket, control, rule):
        return _low_db(ticket, control, rule) > 0
    no_longer = control.metrics.get("weight_steps", math.inf) <= ticket.metrics.get("weight_steps", 0)
    if no_longer and _same_density(reference, control, rule):
        return _low_db(ticket, control, rule) >= -rule.tolerance_db
    return None


def _low_db(ticket: Candidate, control: Candidate, rule: RuleSection) -> float:
    return difference(ticket.scores, control.scores, rule).mean.low_db


def _same_density(ticket: Candidate, control: Candidate, rule: RuleSection) -> bool:
    return abs(ticket.density - control.density) <= rule.control_share * ticket.density


def _row(entry: Assessment) -> dict[str, object]:
    candidate = entry.candidate
    row: dict[str, object] = {
        "name": candidate.name,
        "arm": candidate.arm,
        "method": candidate.method,
        "round": candidate.round,
        "parent": candidate.parent,
        "verdict": entry.verdict.word,
        "reason": entry.verdict.reason,
        "difference_db": entry.difference.mean.mean_db,
        "difference_low_db": entry.difference.mean.low_db,
        "difference_high_db": entry.difference.mean.high_db,
    }
    row |= {f"difference_db/{task}": interval.mean_db for task, interval in entry.difference.tasks.items()}
    beats = entry.beats_controls
    row["beats_controls"] = "" if beats is None else ("yes" if beats else "no")
    row |= dict(candidate.metrics) | dict(entry.search) | dict(entry.quality)
    row["collapse"] = "; ".join(f"{f.kind}: {f.layer}" for f in candidate.findings)
    row["device"] = candidate.device
    row["sha256"] = candidate.sha256
    return row

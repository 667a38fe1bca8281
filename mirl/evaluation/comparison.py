"""Comparison of every ticket of a study with its dense parent and its controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import pandas as pd

from mirl.config import UserError
from mirl.evaluation.collapse import Finding
from mirl.evaluation.references import reference_scores, references, scored_tasks
from mirl.evaluation.scoring import ExamplePicture, summary
from mirl.evaluation.search_cost import search_costs
from mirl.evaluation.winning import (
    Difference,
    RuleSection,
    Verdict,
    difference,
    narrowed,
    own_findings,
    verdict,
)
from mirl.methods import Role
from mirl.sparsity.sharing import Sharing


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Data on one ticket: its place in the study, its numbers, and the material for the report."""

    name: str
    arm: str
    method: str
    role: Role
    """Purpose of the method's tickets."""
    round: int
    parent: str = ""
    """Name of the ticket from which this one was made."""
    device: str = ""
    """Device that trained the ticket, in words."""
    sha256: str = ""
    """SHA-256 digest of the ticket file."""
    metrics: Mapping[str, float]
    """Content of the ticket's metrics.json: density/prunable, density/all, params/kept, macs_g, ticket_mb ..."""
    scores: pd.DataFrame
    """The table of `score`."""
    weight_steps: int | None = None
    """Optimiser steps that the weights have gone through since their initialisation; None if not known."""
    told: bool = False
    """True if the ticket is told which task an image has; the others restore blindly."""
    findings: Sequence[Finding] = ()
    requirements: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sub-network -> the tasks that it serves; empty for a ticket that restores blindly."""
    sharing: Sharing | None = None
    """Weights by the sub-network that owns them; None for a ticket that restores blindly."""
    layer_density: Mapping[str, float] = field(default_factory=dict)
    """Kept fraction of each prunable parameter."""
    history: pd.DataFrame | None = None
    """The training curve: step, loss, learning_rate, gradient_norm, and the loss terms if there are several."""
    pictures: Sequence[ExamplePicture] = ()

    @property
    def density(self) -> float:
        """Kept fraction of the prunable weights."""
        return self.metrics["density/prunable"]

    def cost(self, rule: RuleSection) -> float:
        """Return the share, in [0, 1], that the ticket has left of the cost that `rule` wants saved.

        Raises UserError if that is not known.
        """
        share = self.density if rule.cost == "weights" else work_share(self.metrics)
        if share is None:
            raise UserError(
                f"`promote.cost` is work, but ticket `{self.name}` does not say how many multiply-accumulates run; "
                "train it anew, or let the cost be weights"
            )
        return share


def work_share(metrics: Mapping[str, float]) -> float | None:
    """Return the share of the dense network's multiply-accumulates that really run; None if the metrics lack it.

    `work/share` is a measured value, for work that depends on the image; otherwise the share follows from the mask.
    """
    if "work/share" in metrics:
        return metrics["work/share"]
    if "macs_g" in metrics and "macs_dense_g" in metrics:
        return metrics["macs_g"] / metrics["macs_dense_g"]
    return None


class ControlResult(StrEnum):
    """Result of the comparison of a ticket with a control, which the ticket has to beat or to match."""

    PASSED = "yes"
    FAILED = "no"
    UNKNOWN = "unknown"
    """The ticket fails if it has to match the control: how long one of the two was trained is not known."""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Ticket with the results of the winning rule."""

    candidate: Candidate
    quality: Mapping[str, float]
    """Summary of the ticket's scores under the deciding protocol, over the tasks that it serves."""
    partial: bool
    """True if the ticket serves only some of the study's tasks."""
    difference: Difference
    """Difference to the references of those tasks."""
    verdict: Verdict
    cost: float
    """Share that the ticket has left of the cost that the rule wants saved."""
    controls: Mapping[str, ControlResult]
    """Name of each control that stands beside the ticket, or may -> whether the ticket passes, see
    `_compare_with_control`."""
    search: Mapping[str, float]
    """Cost of the whole search up to the ticket, see `search_costs`."""

    @property
    def beats_controls(self) -> ControlResult | None:
        """Worst result of the ticket beside its controls; None if no control stands beside it."""
        worst_first = (ControlResult.FAILED, ControlResult.UNKNOWN, ControlResult.PASSED)
        return next((result for result in worst_first if result in self.controls.values()), None)

    @property
    def tasks(self) -> list[str]:
        """The restoration tasks that the ticket serves."""
        return list(self.difference.tasks)

    @property
    def collapsed(self) -> bool:
        return self.verdict.word == "collapsed"


def assess(candidates: Sequence[Candidate], rule: RuleSection) -> list[Assessment]:
    """Apply the winning rule to every ticket, in the order given. Raises UserError if a task has no reference."""
    study = _Study.of(candidates, rule)
    costs = search_costs({c.name: (c.parent, c.metrics) for c in candidates}, rule.references[0])
    return [_assess_one(candidate, study, rule, costs[candidate.name]) for candidate in candidates]


def compare(assessments: Sequence[Assessment], rule: RuleSection) -> pd.DataFrame:
    """Return the table of a study, one row for each ticket, in the order given."""
    table = pd.DataFrame([_row(entry) for entry in assessments])
    if not any(entry.partial for entry in assessments):
        del table["tasks"]
    if not any(entry.candidate.told for entry in assessments):
        del table["told"]
    if rule.cost == "work":
        table["work/share"] = [entry.cost for entry in assessments]
    return table


@dataclass(frozen=True, kw_only=True)
class _Study:
    """References, scores and controls with which every ticket of a study is compared."""

    references: Mapping[str, Candidate]
    """Every task of the study -> its reference."""
    scores: pd.DataFrame
    """Scores of the references, each on its own tasks."""
    controls: Sequence[Candidate]

    @classmethod
    def of(cls, candidates: Sequence[Candidate], rule: RuleSection) -> Self:
        named, tables = {c.name: c for c in candidates}, {c.name: c.scores for c in candidates}
        of_task = references(tables, rule)
        return cls(
            references={task: named[name] for task, name in of_task.items()},
            scores=reference_scores(tables, of_task),
            controls=[candidate for candidate in candidates if candidate.role == "control"],
        )

    def beside(self, tasks: Iterable[str]) -> list[Candidate]:
        """Return the references of these tasks, each once."""
        return list({self.references[task].name: self.references[task] for task in tasks}.values())


def _assess_one(
    candidate: Candidate, study: _Study, rule: RuleSection, search: Mapping[str, float]
) -> Assessment:
    found = _difference(candidate, (rule.reference_in_words, study.scores), rule)
    beside, partial = study.beside(found.tasks), found.tasks.keys() != study.references.keys()
    is_reference = candidate.name in rule.references
    if is_reference:
        word = Verdict(word="reference", reason="the others are compared with it")
    else:
        of_references = [f for c in beside for f in own_findings(c.name, c.findings, rule)]
        word = verdict(found, candidate.findings, of_references, rule)
        word = narrowed(word, list(found.tasks)) if partial else word
    stands_alone = candidate.role == "control" or is_reference
    compared = () if stands_alone else study.controls
    results = {c.name: _compare_with_control(candidate, c, beside, rule) for c in compared}
    return Assessment(
        candidate=candidate,
        quality=summary(candidate.scores, rule.protocol),
        partial=partial,
        difference=found,
        verdict=word,
        cost=candidate.cost(rule),
        controls={name: result for name, result in results.items() if result is not None},
        search=search,
    )


def _compare_with_control(
    ticket: Candidate, control: Candidate, beside: Sequence[Candidate], rule: RuleSection
) -> ControlResult | None:
    """Compare a ticket with a control of its own cost, or one of a reference's cost that was trained no longer.

    Beside a control of its cost, the ticket has to beat the control; beside the other, it has to match it. The second
    control is the reference trained on: a ticket whose weights were not rewound has had more training than the
    reference, which alone may be why it is better. A ticket that matches it passes, however long either was
    trained. `beside`: the references of the ticket's tasks. Returns None if the control does not stand beside the
    ticket, or serves no task that the ticket serves.
    """
    if not set(scored_tasks(ticket.scores, rule.protocol)) & set(scored_tasks(control.scores, rule.protocol)):
        return None
    if _same_cost(ticket, control, rule):
        return ControlResult.PASSED if _low_db(ticket, control, rule) > 0 else ControlResult.FAILED
    if not any(_same_cost(reference, control, rule) for reference in beside):
        return None
    matches = _low_db(ticket, control, rule) >= -rule.tolerance_db
    if ticket.weight_steps is None or control.weight_steps is None:
        return ControlResult.PASSED if matches else ControlResult.UNKNOWN
    if control.weight_steps > ticket.weight_steps:
        return None
    return ControlResult.PASSED if matches else ControlResult.FAILED


def _low_db(ticket: Candidate, control: Candidate, rule: RuleSection) -> float:
    return _difference(ticket, (control.name, control.scores), rule).mean.low_db


def _difference(ticket: Candidate, other: tuple[str, pd.DataFrame], rule: RuleSection) -> Difference:
    """Return the difference of a ticket to `other`, a name with scores.

    Raises UserError if the two hold different images of a task.
    """
    name, scores = other
    try:
        return difference(ticket.scores, scores, rule)
    except UserError as error:
        raise UserError(f"ticket `{ticket.name}` does not compare with {name}: {error}") from None


def _same_cost(ticket: Candidate, control: Candidate, rule: RuleSection) -> bool:
    own = ticket.cost(rule)
    return abs(own - control.cost(rule)) <= rule.control_share * own


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
    row["beats_controls"] = "" if beats is None else beats.value
    row["tasks"] = " ".join(entry.tasks)
    row["told"] = "yes" if candidate.told else "no"
    row |= dict(candidate.metrics) | dict(entry.search) | dict(entry.quality)
    row["collapse"] = "; ".join(f"{f.kind}: {f.layer}" for f in candidate.findings)
    row["device"] = candidate.device
    row["sha256"] = candidate.sha256
    return row

"""The winning rule: a paired bootstrap of a ticket against its dense parent, and the verdict that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from mirl.config import Section, UserError
from mirl.evaluation.collapse import Finding
from mirl.evaluation.protocols import PROTOCOLS
from mirl.names import Name

WORDS = ("reference", "wins", "matches", "loses", "partial", "collapsed")
"""All possible verdicts."""


class RuleSection(Section):
    """Settings of the winning rule: the reference, the protocol and the tolerances."""

    reference: str | Annotated[dict[Name, str], Field(min_length=1)] = "dense"
    """Name of the ticket that the others are compared with; or restoration task -> name of the ticket for that task."""
    protocol: str = "paper"
    """Name in PROTOCOLS of the rows that decide."""
    tolerance_db: float = Field(default=0.1, ge=0)
    """A ticket matches while the lower bound of its mean difference is above minus this."""
    task_tolerance_db: float = Field(default=0.3, ge=0)
    """No ticket wins or matches with a lower bound below minus this on any task."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Share of the bootstrap's differences between the bounds."""
    resamples: int = Field(default=2000, ge=100)
    seed: int = Field(default=0, ge=0)
    cost: Literal["weights", "work"] = "weights"
    """Cost that a ticket is to save: stored weights, by its density, or the multiply-accumulates that really run."""
    control_share: float = Field(default=0.005, ge=0, lt=1)
    """Largest difference in cost, as a share of the ticket's, at which a control stands beside a ticket."""

    @model_validator(mode="before")
    @classmethod
    def _no_methods(cls, values: Any) -> Any:
        if isinstance(values, dict) and "methods" in values:
            raise ValueError(
                "`methods` is no key any more: each method says whether its tickets are references, candidates or "
                "controls, and candidates may be promoted; leave the key out"
            )
        return values

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PROTOCOLS:
            raise ValueError(f"it is not a protocol; known ones: {', '.join(PROTOCOLS)}")
        return name

    @property
    def references(self) -> list[str]:
        """Names of the tickets that the others are compared with, each once."""
        named = self.reference if isinstance(self.reference, dict) else {"": self.reference}
        return list(dict.fromkeys(named.values()))

    def reference_of(self, task: str) -> str | None:
        """Return the name of the ticket that the others are compared with on `task`, or None if there is none."""
        return self.reference.get(task) if isinstance(self.reference, dict) else self.reference

    @property
    def reference_in_words(self) -> str:
        """Words for the ticket that the others are compared with, to use in a sentence."""
        return self.references[0] if len(self.references) == 1 else "the reference"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference in dB with its bootstrap bounds."""

    mean_db: float
    low_db: float
    high_db: float

    def __str__(self) -> str:
        return f"{self.mean_db:+.2f} dB [{self.low_db:+.2f}, {self.high_db:+.2f}]"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """PSNR of one ticket minus that of another on the same images of the tasks that both serve."""

    mean: Interval
    """Difference of the mean of those tasks' means."""
    tasks: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Verdict on a ticket: one of WORDS, and the reason as a sentence."""

    word: str
    reason: str


def difference(scores: pd.DataFrame, reference: pd.DataFrame, rule: RuleSection) -> Difference:
    """Bootstrap the paired difference in RGB PSNR over images, stratified by task; percentile bounds (Efron 1993).

    Each resample draws as many images of every task as there are, with replacement, the same ones for both;
    the mean is over the tasks of both tables. Noisy versions of one photograph are drawn as if independent. A task with
    a single image has an interval of no width. Raises UserError if the tables hold different images of a task, or no
    task in common.
    """
    pairs = _paired(scores, reference, rule.protocol)
    generator = np.random.default_rng(rule.seed)
    means, resampled = {}, {}
    for task, gains in sorted(pairs.items()):
        means[task] = float(gains.mean())
        draws = generator.integers(0, len(gains), size=(rule.resamples, len(gains)))
        resampled[task] = gains[draws].mean(axis=1)
    tasks = {task: _interval(means[task], resampled[task], rule.confidence) for task in means}
    together = np.mean(list(resampled.values()), axis=0)
    mean = _interval(float(np.mean(list(means.values()))), together, rule.confidence)
    return Difference(mean=mean, tasks=tasks)


def verdict(
    found: Difference, findings: Sequence[Finding], of_reference: Sequence[Finding], rule: RuleSection
) -> Verdict:
    """Return the verdict that a ticket earns against the reference.

    collapsed: a finding of collapse, except a task that the reference did not learn either. wins: the lower
    bound of the mean is above 0. matches: it is at least -tolerance_db. Both need every task's lower bound to
    be at least -task_tolerance_db. Otherwise it loses.
    """
    unlearned = {finding.layer for finding in of_reference if finding.kind == "did not learn"}
    own = [f for f in findings if not (f.kind == "did not learn" and f.layer in unlearned)]
    if own:
        more = f" (and {len(own) - 1} more)" if len(own) > 1 else ""
        return Verdict(word="collapsed", reason=f"{own[0].kind}: {own[0].layer}: {own[0].detail}{more}")
    worst = min(found.tasks, key=lambda task: found.tasks[task].low_db)
    if found.mean.low_db < -rule.tolerance_db:
        return Verdict(
            word="loses", reason=f"mean {found.mean}, whose lower bound is under -{rule.tolerance_db:g} dB"
        )
    if found.tasks[worst].low_db < -rule.task_tolerance_db:
        under = f"whose lower bound is under -{rule.task_tolerance_db:g} dB"
        return Verdict(word="loses", reason=f"mean {found.mean}, but {worst} {found.tasks[worst]}, {under}")
    return Verdict(word="wins" if found.mean.low_db > 0 else "matches", reason=f"mean {found.mean}")


def own_findings(name: str, findings: Sequence[Finding], rule: RuleSection) -> list[Finding]:
    """Return the findings of reference `name` that count: not those on tasks that have another reference."""
    on_tasks = ("identity", "did not learn")
    return [f for f in findings if f.kind not in on_tasks or rule.reference_of(f.layer) == name]


def narrowed(earned: Verdict, tasks: Sequence[str]) -> Verdict:
    """Return the verdict on a ticket that serves only `tasks` of its study and earned `earned` on them.

    The verdict is partial, or stays collapsed.
    """
    if earned.word == "collapsed":
        return earned
    return Verdict(
        word="partial", reason=f"serves only {', '.join(tasks)}, where it {earned.word}: {earned.reason}"
    )


def _paired(scores: pd.DataFrame, reference: pd.DataFrame, protocol: str) -> dict[str, np.ndarray]:
    """Return the differences in dB of the images of each task in both tables, in the order of their names.

    Raises UserError if the images of the two tables do not pair.
    """
    common = set(scores["task"]) & set(reference["task"])
    left, right = (
        table[(table["protocol"] == protocol) & table["task"].isin(common)]
        .set_index(["task", "image"])["psnr_db"]
        .sort_index()
        for table in (scores, reference)
    )
    if left.empty or not left.index.equals(right.index):
        only = [f"{task}/{image}" for task, image in left.index.symmetric_difference(right.index)[:3]]
        raise UserError(
            f"{len(left)} and {len(right)} scores under `{protocol}` do not pair; only one has "
            f"{', '.join(only) or 'any task of the other'}; evaluate both anew"
        )
    gains = left - right
    return {str(task): group.to_numpy() for task, group in gains.groupby(level="task")}


def _interval(mean_db: float, resampled: np.ndarray, confidence: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean_db=mean_db, low_db=float(low), high_db=float(high))

"""Choice of the ticket to promote: a pure decision over assessed tickets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

from pydantic import Field, model_validator

from mirl.evaluation.collapse import Finding
from mirl.evaluation.comparison import Assessment, ControlResult
from mirl.evaluation.winning import RuleSection, own_findings
from mirl.methods import with_role


class PolicySection(RuleSection):
    """Settings that say which tickets are admitted; the admitted ticket of least cost is promoted."""

    max_density: float = Field(default=0.5, gt=0, le=1)
    """Largest density over the prunable weights at which a ticket is admitted, if `cost` is weights."""
    max_work: float = Field(default=0.5, gt=0, le=1)
    """Largest share of the multiply-accumulates at which a ticket is admitted, if `cost` is work."""
    beat_controls: bool = True
    """True if a ticket must also pass against every control that stands, or may stand, beside it."""

    @model_validator(mode="after")
    def _one_ceiling(self) -> Self:
        own, other = ("max_density", "max_work") if self.cost == "weights" else ("max_work", "max_density")
        if other in self.model_fields_set:
            raise ValueError(
                f"`{other}` counts for nothing while `cost` is {self.cost}; name `{own}` instead"
            )
        return self

    @property
    def ceiling(self) -> float:
        """Highest cost at which a ticket is admitted."""
        return self.max_density if self.cost == "weights" else self.max_work

    @property
    def words(self) -> "CostWords":
        """Words that sentences use for the cost."""
        return COSTS[self.cost]


@dataclass(frozen=True)
class CostWords:
    """Words that sentences use for a kind of cost."""

    noun: str
    less: str
    least: str


COSTS = {
    "weights": CostWords("density", "sparser", "sparsest"),
    "work": CostWords("work", "cheaper", "cheapest"),
}


@dataclass(frozen=True, kw_only=True)
class Champion:
    """Ticket that the registry serves now."""

    sha256: str
    """SHA-256 digest of the ticket file."""
    cost: float
    """Cost that the policy counts: the density of the ticket, or its share of the work."""
    psnr_db: float
    """Mean PSNR in dB under the policy's protocol, on the same test set."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Name of the ticket to promote, or None, and the reasons: a summary, then a sentence for each ticket."""

    ticket: str | None
    reasons: tuple[str, ...]
    sha256: str = ""
    """SHA-256 digest of the ticket's file; empty if no ticket is promoted."""

    def plain(self) -> dict[str, object]:
        """Return the decision as plain data, as decision.json holds it."""
        return asdict(self) | {"reasons": list(self.reasons)}


def decide(candidates: Sequence[Assessment], champion: Champion | None, policy: PolicySection) -> Decision:
    """Choose the admitted ticket of least cost; of equally cheap ones the better one, then the first by name.

    A ticket is admitted if its method finds candidates, its cost is at most the ceiling and it wins or matches. If a
    champion measured on the same test set is given, the ticket must also cost less than the champion, or cost as much
    and be better by more than `tolerance_db`. No admitted ticket is an answer, not an error.
    """
    objections = {entry.candidate.name: _objection(entry, policy) for entry in candidates}
    lines = [_line(entry, objections[entry.candidate.name], policy) for entry in candidates]
    for entry in (entry for entry in candidates if entry.candidate.name in policy.references):
        if found := own_findings(entry.candidate.name, entry.candidate.findings, policy):
            return Decision(ticket=None, reasons=(_failed_reference(entry, found), *lines))
    admitted = [entry for entry in candidates if not objections[entry.candidate.name]]
    if not admitted:
        return Decision(ticket=None, reasons=(_nobody(candidates, policy), *lines))
    best = min(admitted, key=_rank)
    standing = Champion(sha256=best.candidate.sha256, cost=best.cost, psnr_db=best.quality["psnr_db/mean"])
    if champion and (reason := stays(champion, standing, policy)):
        return Decision(ticket=None, reasons=(f"Nothing is promoted: {reason}.", *lines))
    among = (
        "the only admitted ticket"
        if len(admitted) == 1
        else f"the {policy.words.least} of {len(admitted)} admitted"
    )
    earned = f"at {_percent(best)} {policy.words.noun} it {best.verdict.word} {_object(best, policy)}"
    top = f"{best.candidate.name} is the one to promote: {earned} ({best.verdict.reason}), {among}."
    return Decision(ticket=best.candidate.name, reasons=(top, *lines), sha256=best.candidate.sha256)


def _objection(entry: Assessment, policy: PolicySection) -> str:
    """Say why a ticket is not admitted; empty if it is."""
    candidate, word = entry.candidate, entry.verdict.word
    if candidate.name in policy.references:
        return "the reference"
    if candidate.role != "candidate":
        return f"tickets by `{candidate.method}` never are; it {_verb(word)}, {entry.verdict.reason}"
    if word not in ("wins", "matches"):
        return f"{_verb(word)}, {entry.verdict.reason}"
    if entry.cost > policy.ceiling:
        ceiling = f"{100 * policy.ceiling:g} %"
        return f"{word}, but its {policy.words.noun} {_percent(entry)} is above the ceiling of {ceiling}"
    return f"{word}, but {lost}" if policy.beat_controls and (lost := _failed_controls(entry)) else ""


def _failed_controls(entry: Assessment) -> str:
    """Say how a ticket fails against its controls; empty if it does not."""
    names = ", ".join(name for name, result in entry.controls.items() if result is entry.beats_controls)
    if entry.beats_controls is ControlResult.FAILED:
        return f"does not hold its ground against {names}"
    if entry.beats_controls is ControlResult.UNKNOWN:
        whose = "its weights were" if entry.candidate.weight_steps is None else f"the weights of {names} were"
        return f"how long {whose} trained is not known, so it may have to match {names}, which it does not"
    return ""


def _line(entry: Assessment, objection: str, policy: PolicySection) -> str:
    said = (
        f"not admitted: {objection}"
        if objection
        else f"admitted: {entry.verdict.word}, {entry.verdict.reason}"
    )
    cost = _percent(entry) if policy.cost == "weights" else f"{_percent(entry)} {policy.words.noun}"
    return f"{entry.candidate.name} ({cost}): {said}."


def _failed_reference(reference: Assessment, findings: Sequence[Finding]) -> str:
    found = "; ".join(f"{finding.layer}: {finding.detail}" for finding in findings)
    name = reference.candidate.name
    return f"Nothing is promoted: {name}, which the others are compared with, fails itself ({found})."


def _nobody(candidates: Sequence[Assessment], policy: PolicySection) -> str:
    words = [c.verdict.word for c in candidates if c.candidate.role == "candidate"]
    if not words:
        return f"Nothing is promoted: no ticket is of a method that may be ({', '.join(with_role('candidate'))})."
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    ceiling = f"{policy.words.noun} at most {100 * policy.ceiling:g} %"
    return f"Nothing is promoted: no ticket matches {policy.reference_in_words} at {ceiling} (of {len(words)}: {counts})."


def stays(champion: Champion, challenger: Champion, policy: PolicySection) -> str:
    """Say why the champion stays; empty if the challenger replaces the champion, or is the champion already.

    Both were measured on the same test set. A challenger replaces the champion if it costs less, or costs as much and
    is better by more than `tolerance_db`.
    """
    if champion.sha256 == challenger.sha256:
        return ""
    less = challenger.cost < champion.cost * (1 - policy.control_share)
    gain_db = challenger.psnr_db - champion.psnr_db
    level = challenger.cost <= champion.cost * (1 + policy.control_share)
    if less or (level and gain_db > policy.tolerance_db):
        return ""
    at = f"{challenger.cost:.1%} against {champion.cost:.1%} {policy.words.noun}, {gain_db:+.2f} dB"
    return f"the champion stays, a challenger has to be {policy.words.less} or better ({at})"


def _rank(entry: Assessment) -> tuple[float, float, str]:
    return entry.cost, -entry.quality["psnr_db/mean"], entry.candidate.name


def _object(entry: Assessment, policy: PolicySection) -> str:
    reference = policy.reference_in_words
    return f"against {reference}" if entry.verdict.word == "wins" else reference


def _verb(word: str) -> str:
    return {"collapsed": "has collapsed", "partial": "is partial"}.get(word, word)


def _percent(entry: Assessment) -> str:
    return f"{100 * entry.cost:.1f} %"

"""Progress of a training as one immutable value, written atomically; a training resumes by loading that value."""

from dataclasses import dataclass, field
from pathlib import Path

from mirl.config import UserError
from mirl.sparsity.mask import State
from mirl.tickets.container import FileKind, opened, save_sealed

KIND = FileKind(format="mirl-checkpoint", version=2, header_bytes=100_000_000, file_bytes=2**63)
"""Kind of a checkpoint file; its header holds the history, so the header may be as large as safetensors allows."""
GROUPS = {"weights": "weights", "moments": "moments", "origin": "origin", "watched": "stopping_state"}
"""Prefix of the tensors in the file -> field of `Progress`; the prefixes stay the same if a field is renamed."""
PLAIN = {name: name for name in (
    "step", "made_with", "history", "loss_sum", "term_sums", "train_seconds", "train_joules"
)}  # fmt: skip
PLAIN["ended"] = "stopped_early"
"""Key of the header -> field of `Progress`."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """State of a training after `step` steps of its schedule; `step` also determines the place in the batch stream."""

    step: int
    weights: State
    moments: State
    origin: State
    """State at the rewind step; empty before that step, and in rounds that are given their origin."""
    made_with: str
    """Device type and precision; both must stay the same, or the result would depend on where training was killed."""
    stopping_state: State = field(default_factory=dict)
    """State that the plan's stopping rule remembers."""
    stopped_early: bool = False
    """True if the stopping rule has ended the training."""
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    """Sum of the losses since the last record."""
    term_sums: dict[str, float] = field(default_factory=dict)
    """Sums of the loss terms since the last record, by name."""
    train_seconds: float = 0.0
    """Seconds of training so far, over all runs."""
    train_joules: float | None = None
    """Energy of training so far in joules; None once a machine of this training could not measure it."""


def save(progress: Progress, path: Path) -> None:
    """Write a checkpoint atomically: a kill leaves the old checkpoint or the new one.

    Raises UserError if the disk is full.
    """
    tensors = {
        f"{group}.{name}": tensor.detach().cpu().contiguous()
        for group, own in GROUPS.items()
        for name, tensor in getattr(progress, own).items()
    }
    plain = {key: getattr(progress, own) for key, own in PLAIN.items()}
    if not progress.term_sums:
        del plain["term_sums"]
    save_sealed(path, KIND, plain, tensors)


def load(path: Path) -> Progress | None:
    """Read the checkpoint at `path`; None if the file does not exist. Raises UserError if it cannot be read."""
    if not path.exists():
        return None
    try:
        with opened(path, KIND) as file:
            header, tensors = file.header, file.tensors()
    except UserError as error:
        raise UserError(f"{error}; or delete it, to start this training anew") from None
    groups: dict[str, State] = {own: {} for own in GROUPS.values()}
    for key, tensor in tensors.items():
        group, _, name = key.partition(".")
        groups[GROUPS[group]][name] = tensor
    # a checkpoint of before the joules or the terms were counted has none
    return Progress(**({own: header[key] for key, own in PLAIN.items() if key in header} | groups))

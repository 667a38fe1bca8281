"""Where a training stands: one immutable value, written atomically; resuming is loading it."""

from dataclasses import dataclass, field
from pathlib import Path

from mirl.config import UserError
from mirl.sparsity.mask import State
from mirl.tickets.container import FileKind, opened, save_sealed

KIND = FileKind(format="mirl-checkpoint", version=2, header_bytes=100_000_000, file_bytes=2**63)
"""Our own file, with the history in its header: as large as safetensors has them."""
GROUPS = {"weights": "weights", "moments": "moments", "origin": "origin", "watched": "stopping_state"}
"""Prefix of the tensors in the file -> field of `Progress`; the file's names stay, whatever the fields are called."""
PLAIN = {name: name for name in (
    "step", "made_with", "history", "loss_sum", "term_sums", "train_seconds", "train_joules"
)}  # fmt: skip
PLAIN["ended"] = "stopped_early"
"""Key of the header -> field of `Progress`."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A training after `step` steps of its schedule. The batch stream is a function of the step: no place is stored."""

    step: int
    weights: State
    moments: State
    origin: State
    """The state at the rewind step, once it has passed; empty before, and in rounds, which are given theirs."""
    made_with: str
    """Device type and precision: a training goes on where it began, or its bytes would depend on where it was killed."""
    stopping_state: State = field(default_factory=dict)
    """What the plan's stopping rule remembers."""
    stopped_early: bool = False
    """Whether that rule has ended the training."""
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    """Sum of the losses since the last record."""
    term_sums: dict[str, float] = field(default_factory=dict)
    """Sums of the terms of the loss since the last record, by name."""
    train_seconds: float = 0.0
    """Seconds of training that led here, over all runs of it."""
    train_joules: float | None = None
    """Energy that led here; None once a machine of this training could not tell."""


def save(progress: Progress, path: Path) -> None:
    """Write it whole or not at all: a kill leaves the old checkpoint or the new one. UserError at a full disk."""
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
    """The checkpoint at `path`, or None where there is none. UserError where it cannot be read."""
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

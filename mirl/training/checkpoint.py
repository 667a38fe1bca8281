"""Where a training stands: one immutable value, written atomically; resuming is loading it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mirl.config import UserError
from mirl.sparsity.mask import State

FORMAT = "1"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A training after `step` steps of its schedule. The batch stream is a function of the step: no place is stored."""

    step: int
    weights: State
    moments: State
    origin: State
    """The state at the rewind step, once it has passed; empty before, and in rounds, which are given theirs."""
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    """Sum of the losses since the last record."""
    train_seconds: float = 0.0
    """Seconds of training that led here, over all runs of it."""


def save(progress: Progress, path: Path) -> None:
    """Write to a temporary name, flush to the disk, rename: a kill leaves the old checkpoint or the new one."""
    tensors = {f"weights.{name}": tensor for name, tensor in progress.weights.items()}
    tensors |= {f"moments.{name}": tensor for name, tensor in progress.moments.items()}
    tensors |= {f"origin.{name}": tensor for name, tensor in progress.origin.items()}
    plain = {key: getattr(progress, key) for key in ("step", "history", "loss_sum", "train_seconds")}
    temporary = path.with_suffix(".writing")
    try:
        metadata = {"format": FORMAT, "progress": json.dumps(plain)}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Progress | None:
    """The checkpoint at `path`, or None where there is none. UserError where it cannot be read."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(
                    f"{path} is no checkpoint of format {FORMAT}; delete it to start this training anew"
                )
            plain: dict[str, Any] = json.loads(metadata["progress"])
            groups: dict[str, State] = {"weights": {}, "moments": {}, "origin": {}}
            for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                group, name = key.split(".", 1)
                groups[group][name] = file.get_tensor(key)
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it to start this training anew") from None
    return Progress(**(plain | groups))

"""Checks that a registered version is what this mirl makes of its ticket and scores as before; none of it is run."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from flows.registry import model_files
from flows.registry.card import Card
from flows.registry.registered_model import RegisteredModel, title
from mirl.config import UserError
from mirl.evaluation.scoring import Restore, score
from mirl.restore.restorer import Restorer
from mirl.study.held_out import held_out_images
from mirl.study.params import read_params
from mirl.tickets.reading import read

TOLERANCE_DB = 0.01
"""Largest allowed difference of the registered ticket's scores to its file's; other hardware adds in another order."""
IMAGES_PER_TASK = 2
"""Number of test images of each task that are scored again before the alias moves."""

Rescore = Callable[[Restore], pd.DataFrame]
"""Function that scores a restorer as `evaluate` does, on some of its images; columns image, task, protocol, psnr_db."""


def sound(
    registered: RegisteredModel,
    candidates: Sequence[ModelVersion],
    card: Card,
    ticket: Path,
    run: Callable[[], str | None],
) -> tuple[ModelVersion, str]:
    """Return the first candidate that is what this mirl makes of the file `ticket`, else a new version; and a remark.

    `run` gives the run to which a new version belongs. Raises UserError if a new version comes back changed.
    """
    remark = ""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "model"
        model_files.save(ticket, fresh)
        for version in candidates:
            if not (why := registered.difference(version, card, fresh)):
                return version, ""
            remark = f"; {title(version)} has another {why} than this mirl and its libraries make, so it was registered anew"
        made = registered.add(fresh, run(), card)
        if why := registered.difference(made, card, fresh):
            raise UserError(
                f"{title(made)} came back with another {why} than was registered; look who else writes to the store, and "
                "delete that version"
            )
    return made, remark


def verify(registered: RegisteredModel, version: ModelVersion, scores: Path, rescore: Rescore) -> float:
    """Fetch the ticket of `version` back and score it again; return the largest difference in dB.

    Raises UserError if that is over TOLERANCE_DB, or `scores` is of other images or protocols.
    """
    again = rescore(Restorer(read(registered.ticket(version))).run)
    keys = ["image", "task", "protocol"]
    both = again.merge(pd.read_parquet(scores / "scores.parquet"), on=keys, suffixes=("", "_before"))
    if again.empty or len(both) < len(again):
        raise UserError(
            f"scores/{scores.name} is of other images or protocols than params.yaml asks for; run "
            "`dvc repro`, then promote again"
        )
    difference = (both["psnr_db"] - both["psnr_db_before"]).abs()
    registered.mark(version, bool(difference.max() <= TOLERANCE_DB))
    if not difference.max() <= TOLERANCE_DB:  # NaN does not pass
        worst = both.iloc[int(difference.fillna(float("inf")).to_numpy().argmax())]
        raise UserError(
            f"{title(version)}, fetched back from the registry, gives {worst['psnr_db']:.3f} dB on "
            f"{worst['image']} ({worst['task']}), expected {worst['psnr_db_before']:.3f}; the champion "
            f"stays. If other hardware evaluated it, run `dvc repro -s -f evaluate@{scores.name}` and "
            "`dvc repro` here, then promote again"
        )
    return float(difference.max())


def rescorer(root: Path) -> Rescore:
    """Return a function that scores as the study's `evaluate`, on the first IMAGES_PER_TASK test images per task."""
    section = read_params(root / "params.yaml", own=None).evaluate
    few = section.model_copy(update={"limit": min(section.limit or IMAGES_PER_TASK, IMAGES_PER_TASK)})
    return lambda restore: score(restore, held_out_images(root), few)

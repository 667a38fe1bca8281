"""Held-out images of a study."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mirl.config import UserError
from mirl.data.packed import PackedImages
from mirl.evaluation.scoring import TestImage
from mirl.study.workspace import Workspace


def held_out_images(root: Path) -> Iterator[TestImage]:
    """Yield the held-out images of the prepared data below `root`, by task and name."""
    packed = PackedImages(Workspace(root).prepared)
    for task in packed.tasks.values():
        for item in packed.items("test", task.name):
            degraded = None if item.degraded is None else packed.image(item.degraded)
            yield TestImage(
                image=item.image, task=task, clean_HWC=packed.image(item.clean), degraded_HWC=degraded
            )


@contextmanager
def memory_in_words(device: str) -> Iterator[None]:
    """Turn a lack of memory within the block into UserError.

    Photographs are scored whole, as in published results: tiles would change the numbers.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the memory of {device} does not hold a whole test photograph ({str(error).splitlines()[0]}); end what "
            "else uses it, or score with `machine: {device: cpu}`, which retrains nothing"
        ) from None

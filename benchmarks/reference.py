"""The authors' training, from the checkout of MIR-L that MIRL_REFERENCE names, without the packages we do not need.

It imports lightning and torchvision. Of both it uses little, and stand-ins do that little as they do: Lightning's
order of a step without its bookkeeping, torchvision's transforms with Pillow and torch. It asks for a GPU by name; if
there is none, the network is built on the CPU. Nothing else is changed, so what is timed is the authors' code.
"""

import os
import random
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

LEARNING_RATE = 2e-4


class LightningModule(nn.Module):
    """Stand-in for Lightning's class, with the methods that a MIRLModel calls."""

    def log(self, name: str, value: Tensor) -> None: ...

    def optimizer_step(self, epoch: int, batch: int, optimizer: Any, closure: Callable[[], Tensor]) -> None:
        optimizer.step(closure=closure)


class ToPILImage:
    def __call__(self, pixels_HWC: np.ndarray) -> Image.Image:
        return Image.fromarray(pixels_HWC)


class RandomCrop:
    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Image.Image) -> Image.Image:
        top = int(torch.randint(0, image.height - self.side + 1, size=(1,)))
        left = int(torch.randint(0, image.width - self.side + 1, size=(1,)))
        return image.crop((left, top, left + self.side, top + self.side))


class ToTensor:
    def __call__(self, pixels_HWC: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels_HWC.transpose(2, 0, 1)).contiguous().to(torch.float32).div(255)


class Compose:
    def __init__(self, steps: list[Callable[[Any], Any]]) -> None:
        self.steps = steps

    def __call__(self, value: Any) -> Any:
        for step in self.steps:
            value = step(value)
        return value


def stand_ins() -> dict[str, ModuleType]:
    """Return the stand-in modules by the names under which the authors' code imports them."""
    modules = {
        name: ModuleType(name)
        for name in ("lightning", "lightning.pytorch", "torchvision", "torchvision.transforms")
    }
    vars(modules["lightning.pytorch"])["LightningModule"] = LightningModule
    vars(modules["lightning"])["pytorch"] = modules["lightning.pytorch"]
    for kind in (ToPILImage, RandomCrop, ToTensor, Compose):
        vars(modules["torchvision.transforms"])[kind.__name__] = kind
    return modules


class Reference:
    """The authors' network, optimiser, hooks and pruning step, on one batch; `blocks` and `refinement` set the size."""

    def __init__(self, blocks: list[int], refinement: int, device: torch.device) -> None:
        load()
        from models import MIRLModel as module  # type: ignore[import-not-found]
        from utils import pruning_utils as pruning  # type: ignore[import-not-found]

        sized = partial(module.PromptIR, num_blocks=blocks, num_refinement_blocks=refinement)
        plain = nn.Module.to
        arguments = Namespace(lr=LEARNING_RATE, warmup_epochs=15, epochs=120)
        with (
            mock.patch.object(module, "PromptIR", sized),
            mock.patch.object(nn.Module, "to", lambda network, _: plain(network, device)),
        ):
            self.model = module.MIRLModel(arguments)
        self.device, self.pruning = device, pruning
        (self.optimiser,), _ = self.model.configure_optimizers()
        self.origin = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.trained = {name: moved(tensor) for name, tensor in self.origin.items()}

    def begin_round(self) -> None:
        """Load the trained weights of the whole network, and create its mask."""
        self.model.load_state_dict(self.trained)
        self.masks = self.pruning.create_mask(self.model)

    def prune(self, scope: str) -> None:
        """Take the trained network to the origin, under a mask that keeps four fifths of the weights."""
        self.pruning.prune_and_reset(self.model, self.masks, 20, scope, self.origin)

    def train_under_mask(self) -> None:
        """Prune once globally; from here on `step` trains what that leaves."""
        self.begin_round()
        self.prune("global")
        self.model.mask = self.masks

    def step(self, batch: tuple[Tensor, Tensor], precision: str) -> None:
        """Do one step in Lightning's order: forward, backward, AdamW and the authors' masking."""
        degraded_BCHW, clean_BCHW = (patches.to(self.device, non_blocking=True) for patches in batch)

        def closure() -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss: Tensor = self.model.training_step((["", 0], degraded_BCHW, clean_BCHW), 0)
            self.optimiser.zero_grad()
            loss.backward()
            self.model.on_after_backward()
            return loss

        self.model.optimizer_step(0, 0, self.optimiser, closure)


def loader(data: Path, batch: int, patch: int) -> Any:
    """Return the authors' DataLoader over `data` (their layout), in this process.

    Of each task it draws as many samples as there are of the rarest.
    """
    load()
    from utils.dataset_utils import TrainDataset  # type: ignore[import-not-found]

    arguments = Namespace(
        mode=["denoise_15", "denoise_25", "denoise_50", "derain", "dehaze"], patch_size=patch
    )
    for task in ("denoise", "derain", "dehaze"):
        folder = data / "train" / task
        vars(arguments)[f"{task}_train_dir"] = str(folder)
        vars(arguments)[f"{task}_train_datasets"] = sorted(place.name for place in folder.iterdir())
        vars(arguments)[f"{task}_data_augmentation"] = 1
    random.seed(0)
    with mock.patch("builtins.print"):
        dataset = TrainDataset(arguments)
    kinds = [dataset.s15_ids, dataset.s25_ids, dataset.s50_ids, dataset.rainy_ids, dataset.hazy_ids]
    dataset.sample_ids = [one for same in zip(*kinds) for one in same]
    return torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True, drop_last=True)


def moved(tensor: Tensor) -> Tensor:
    """Return what training might have made of `tensor`: normal noise of standard deviation 0.01 is added."""
    return tensor + 0.01 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)).to(tensor)


def load() -> None:
    """Make the authors' checkout importable."""
    checkout = os.environ["MIRL_REFERENCE"]
    if checkout not in sys.path:
        sys.modules.update(stand_ins())
        sys.path.insert(0, checkout)

"""A checkout of the authors' repository as `benchmarks.reference` sees one: the same names, next to nothing behind them."""

from pathlib import Path

FILES = {
    "models/MIRLModel.py": """
import lightning.pytorch as pl
import torch
from torch import nn

class PromptIR(nn.Module):
    def __init__(self, num_blocks, num_refinement_blocks, decoder=False):
        super().__init__()
        assert decoder
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in num_blocks))
    def forward(self, x):
        return self.layers(x)

class MIRLModel(pl.LightningModule):
    def __init__(self, args):
        super().__init__()
        self.net = PromptIR(decoder=True).to(torch.device("cuda:0"))
        self.args, self.mask = args, None
    def training_step(self, batch, index):
        _, degraded, clean = batch
        loss = nn.functional.l1_loss(self.net(degraded), clean)
        self.log("train_loss", loss)
        return loss
    def configure_optimizers(self):
        return [torch.optim.AdamW(self.parameters(), lr=self.args.lr)], []
    def on_after_backward(self):
        for weight, mask in zip(self.weights(), self.mask):
            weight.grad.mul_(mask)
    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        for weight, mask in zip(self.weights(), self.mask):
            weight.data.mul_(mask)
    def weights(self):
        return [weight for name, weight in self.named_parameters() if "weight" in name]
""",
    "utils/pruning_utils.py": """
import torch

def create_mask(model):
    return [torch.ones_like(weight) for weight in model.weights()]

def prune_and_reset(model, mask, percent, prune_type, initial):
    assert percent == 20 and prune_type in ("global", "layer")
    for place, weight in enumerate(model.weights()):
        mask[place] = (weight.abs() >= weight.abs().quantile(percent / 100)).float()
    model.load_state_dict(initial)
""",
    "utils/dataset_utils.py": """
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import Compose, RandomCrop, ToPILImage, ToTensor

class TrainDataset(torch.utils.data.Dataset):
    def __init__(self, args):
        clean = [path for name in args.denoise_train_datasets for path in Path(args.denoise_train_dir, name).iterdir()]
        self.s15_ids = self.s25_ids = self.s50_ids = self.rainy_ids = self.hazy_ids = clean
        self.crop, self.to_tensor = Compose([ToPILImage(), RandomCrop(args.patch_size)]), ToTensor()
    def __len__(self):
        return len(self.sample_ids)
    def __getitem__(self, index):
        patch = self.to_tensor(np.array(self.crop(np.array(Image.open(self.sample_ids[index]).convert("RGB")))))
        return patch, patch
""",
}


def write(folder: Path) -> None:
    for name, code in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)

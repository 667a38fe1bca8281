"""A tiny study as its stages leave it, and an embedded MLflow store that needs no migration."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from flows.tracking.store import Store
from mirl import networks
from mirl.networks import NetworkSection
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets.lineage import Lineage
from mirl.tickets.ticket import Ticket
from mirl.tickets.writing import write

TASKS = ("denoise_15", "derain")
PARAMS: dict[str, Any] = {
    "study": "tiny",
    "train": {"steps": 40, "learning_rate": 1e-3, "seed": 3, "batches": {"batch": 8}, "precision": "float32"},
    "arms": {
        "dense": {"method": "dense"},
        "global": {"method": "imp", "schedule": "authors", "scope": "global", "fraction": 0.3},
    },
    "rounds": {"dense": {"arm": "dense", "after": "init"}, "global-r1": {"arm": "global", "after": "dense"}},
}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file: making one costs a second."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Store(folder)
    return folder / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study that has trained nothing yet, with an empty store; the current folder."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def make_ticket(root: Path) -> Callable[..., Path]:
    """Makes `tickets/<name>` as the stage `round` does; returns its folder."""

    def make(
        name: str = "global-r1", fingerprint: str = "f" * 64, density: float = 0.7, seed: int = 0
    ) -> Path:
        section = NetworkSection(
            name="nafnet",
            options={"width": 4, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1},
            seed=seed,
        )
        network = networks.build(section)
        state = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
        generator = torch.Generator().manual_seed(seed)
        prunable = networks.prunable(network, False)
        mask = Mask({key: torch.rand(w.shape, generator=generator) < density for key, w in prunable.items()})
        arm, method = ("dense", "dense") if name == "dense" else ("global", "imp")
        lineage = Lineage(
            name=name, arm=arm, method=method, round=1 + (name != "dense"), parent="",
            fingerprint=fingerprint, seed=3, steps=40, origin_step=4, data="d" * 64,
            settings={"train": PARAMS["train"], "arm": PARAMS["arms"][arm]},
        )  # fmt: skip
        folder = root / "tickets" / name
        folder.mkdir(parents=True, exist_ok=True)
        ticket = Ticket(
            network=section,
            state=mask.apply(state),
            masks=Masks.one(mask),
            lineage=lineage,
        )
        write(ticket, folder / "ticket.safetensors")
        steps = range(10, 50, 10)
        pd.DataFrame(
            {"step": step, "loss": 1 / step, "learning_rate": 1e-3, "gradient_norm": 2.0} for step in steps
        ).to_parquet(folder / "history.parquet")
        numbers = {"density/prunable": density, "density/all": density, "params/kept": 100, "macs_g": 0.5}
        numbers |= {"ticket_mb": 0.01, "train_seconds": 12.5}
        (folder / "metrics.json").write_text(json.dumps(numbers))
        return folder

    return make


@pytest.fixture
def make_scores(root: Path) -> Callable[..., Path]:
    """Makes `scores/<name>` as the stage `evaluate` does; returns its folder."""

    def make(name: str = "global-r1", psnr_db: float = 30.0) -> Path:
        folder = root / "scores" / name
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        rows = [
            {"image": "a", "task": task, "protocol": "paper", "psnr_db": psnr_db, "ssim": 0.9}
            for task in TASKS
        ]
        pd.DataFrame(rows).to_parquet(folder / "scores.parquet")
        numbers = {"psnr_db/mean": psnr_db, "ssim/mean": 0.9}
        numbers |= {f"psnr_db/{task}": psnr_db for task in TASKS} | {f"ssim/{task}": 0.9 for task in TASKS}
        (folder / "metrics.json").write_text(json.dumps(numbers))
        (folder / "findings.json").write_text("[]")
        for task in TASKS:
            for shade, kind in enumerate(("input", "output", "clean")):
                image = np.full((12, 16, 3), 60 * shade + int(psnr_db), np.uint8)
                Image.fromarray(image).save(folder / "pictures" / f"{task}--a--{kind}.png")
        return folder

    return make


@pytest.fixture
def make_report(root: Path) -> Callable[..., Path]:
    """Makes `report/` as the stage `compare` does; returns its folder."""

    def make(ticket: str | None, reasons: tuple[str, ...] = ("the sparsest that wins",), **more: str) -> Path:
        folder = root / "report"
        folder.mkdir(exist_ok=True)
        decision = {"ticket": ticket, "reasons": list(reasons), **more}
        (folder / "decision.json").write_text(json.dumps(decision))
        verdicts = {
            "name": ["dense", "global-r1"],
            "verdict": ["reference", "wins"],
            "beats_controls": ["", "yes"],
        }
        pd.DataFrame(verdicts).to_parquet(folder / "comparison.parquet")
        (folder / "index.html").write_text("<p>report</p>")
        return folder

    return make

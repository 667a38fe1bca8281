"""A made-up study: two arms and three controls, with a collapse, in a fraction of a second."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mirl.evaluation.collapse import Finding
from mirl.evaluation.comparison import Candidate
from mirl.evaluation.scoring import METRICS, ExamplePicture
from mirl.methods import role_of

TASKS = {"denoise_15": 24.6, "denoise_25": 20.4, "denoise_50": 14.9, "derain": 24.4, "dehaze": 15.6}
"""Mean PSNR of the input of each task in dB."""


def made_up_scores(
    gain_db: float, offset_db: float = 0.0, images: int = 12, change: float = 0.9
) -> pd.DataFrame:
    """Scores whose every task gains `gain_db` over its input, and about `offset_db` more."""
    rows = []
    for index, (task, base) in enumerate(TASKS.items()):
        for number in range(images):
            wobble = np.sin(7 * number + index)
            before = base + 1.5 * wobble
            after = before + gain_db + offset_db * (1 + 0.4 * np.cos(5 * number + index))
            quality = dict.fromkeys(METRICS, min(0.6 + after / 100, 0.99)) | {
                "psnr_db": after,
                "input_psnr_db": before,
            }
            quality |= {"psnr_y_db": after + 1.3, "input_ssim": 0.6}
            rows.append({"image": f"image-{number:02}", "task": task, "protocol": "paper", **quality})
    return pd.DataFrame(rows).assign(change=change, seconds=0.1)


def made_up_ticket(
    name: str, arm: str, method: str, round: int, density: float, scores: pd.DataFrame
) -> Candidate:
    metrics = {
        "density/prunable": density,
        "density/all": 0.02 + 0.98 * density,
        "params/kept": round_to(404_908 * density),
        "macs_g": 3.9 * density,
        "macs_dense_g": 3.9,
        "ticket_mb": 0.06 + 1.6 * density,
        "train_seconds": 240.0,
        "steps": 2000,
        "samples": 16_000,
        "train_flops": 3e12 * density,
        "train_flops_dense": 3e12,
    }
    parent = "" if name == "dense" else f"{arm}-r{round - 1}" if round > 1 else "dense"
    names = [
        "head.weight",
        *(f"encoder.{i}.{part}.weight" for i in range(4) for part in ("expand", "depth", "project")),
        "tail.weight",
    ]
    shares = {
        layer: min(1.0, density * (0.4 + 1.7 * np.sin(3 + 2 * i) ** 2)) for i, layer in enumerate(names)
    }
    if density == 1:
        shares = dict.fromkeys(names, 1.0)
    steps = np.arange(0, 2000, 20)
    loss = 0.02 + 0.06 * np.exp(-steps / 300) + 0.002 * np.sin(steps) + 0.004 * density
    history = pd.DataFrame({"step": steps, "loss": loss, "learning_rate": 1e-3, "gradient_norm": 1.0})
    return Candidate(
        name=name, arm=arm, method=method, role=role_of(method), round=round, parent=parent, device="two threads",
        sha256=f"{name:0>64}",
        metrics=metrics, scores=scores, layer_density=shares, history=history,
        pictures=made_up_pictures(density),
    )  # fmt: skip


def round_to(value: float) -> float:
    return float(np.rint(value))


def made_up_pictures(density: float) -> list[ExamplePicture]:
    """A gradient with discs, its noisy form, and something between the two."""
    y, x = np.mgrid[0:120, 0:160] / 120
    clean = np.stack([x / 1.4, y, 0.5 + 0.4 * np.sin(9 * (x - y))], axis=2)
    clean[((x - 0.6) ** 2 + (y - 0.5) ** 2) < 0.08] = (0.9, 0.75, 0.3)
    found = []
    for index, task in enumerate(TASKS):
        noise = np.random.default_rng(index).standard_normal(clean.shape) * 0.15
        trio = (clean + noise, clean + 0.2 * noise * (2 - density), clean)
        found.append(
            ExamplePicture(
                "image-00", task, *((255 * np.clip(image, 0, 1)).astype(np.uint8) for image in trio)
            )
        )
    return found


@pytest.fixture
def scores() -> Callable[..., pd.DataFrame]:
    return made_up_scores


@pytest.fixture
def ticket() -> Callable[..., Candidate]:
    return made_up_ticket


@pytest.fixture
def study() -> list[Candidate]:
    return made_up_study()


def made_up_study() -> list[Candidate]:
    """Wins down to 34 %, matches at 24 %, loses, and collapses at 12 %; random masks lose everywhere."""
    found = [made_up_ticket("dense", "dense", "dense", 0, 1.0, made_up_scores(6.0))]
    chains: dict[str, list[tuple[float, float | None]]] = {
        "global": [(0.7, 0.21), (0.49, 0.4), (0.343, 0.53), (0.24, 0.02), (0.168, -0.25), (0.118, None)],
        "layerwise": [(0.7, 0.18), (0.49, 0.3), (0.343, 0.26), (0.24, 0.11), (0.168, -0.04), (0.118, -0.4)],
    }
    for arm, rounds in chains.items():
        for index, (density, offset) in enumerate(rounds, start=1):
            table = made_up_scores(0.01, change=0.01) if offset is None else made_up_scores(6.0, offset)
            entry = made_up_ticket(f"{arm}-r{index}", arm, "imp", index, density, table)
            found.append(collapse(entry) if offset is None else entry)
    for method, offsets in {"random": (-0.4, -2.6), "reinit": (-0.1, -0.8), "oneshot": (0.3, -0.9)}.items():
        for density, offset in zip((0.49, 0.24), offsets):
            table = made_up_scores(6.0, offset)
            found.append(
                made_up_ticket(f"{method}-{round(100 * density)}", method, method, 1, density, table)
            )
    return found


def collapse(entry: Candidate) -> Candidate:
    shares = dict(entry.layer_density) | {"encoder.2.depth.weight": 0.0, "encoder.1.project.weight": 0.0009}
    findings = [
        Finding(kind="layer gone", layer="encoder.2.depth.weight", detail="none of its 576 weights is kept"),
        Finding(
            kind="path cut",
            layer="encoder.2.expand.weight",
            detail="it keeps 31 of 4096 weights, but nothing flows through them",
        ),
        Finding(
            kind="identity",
            layer="derain",
            detail="its output is its input: it changes 1.0% of what is needed (+0.01 dB)",
        ),
    ]
    return Candidate(**{**vars(entry), "layer_density": shares, "findings": findings})


@pytest.fixture(scope="session")
def made_up() -> list[Candidate]:
    """The study of `study`, made once: for tests that only read it."""
    return made_up_study()

"""`mirl slim`: what some tasks need, as a ticket of its own that restores the same bits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirl.command.main import main
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets import reading, writing
from mirl.tickets.pack import packed
from mirl.tickets.routing import ByTask, ByWork

TASKS = {"denoise_15": "light", "derain": "middle", "dehaze": "middle", "denoise_50": "heavy"}


@pytest.fixture
def source(make_ticket: Any, tmp_path: Path) -> Path:
    """Three sub-networks, each inside the next; the largest weight of a layer is in the last alone."""
    whole = make_ticket()
    draws = {
        name: torch.rand(keep.shape, generator=torch.Generator().manual_seed(5))
        for name, keep in whole.mask.items()
    }
    masks = Masks(
        {
            name: Mask({layer: draw < share for layer, draw in draws.items()})
            for name, share in (("light", 0.3), ("middle", 0.6), ("heavy", 1.0))
        }
    )
    state = dict(whole.state)
    state["head.weight"] = torch.where(masks["middle"]["head.weight"], state["head.weight"], 9.0)
    path = tmp_path / "whole.safetensors"
    writing.write(replace(whole, state=state, masks=masks, routing=ByTask(kind="task", tasks=TASKS)), path)
    return path


@pytest.mark.parametrize(
    ("tasks", "masks"),
    [
        (["denoise_15"], ["light"]),
        (["dehaze"], ["middle"]),
        (["denoise_50", "denoise_15"], ["light", "heavy"]),
    ],
    ids=str,
)
def test_what_is_cut_out_restores_the_same_bits(
    tasks: list[str], masks: list[str], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = source.with_name("small.safetensors")
    assert main(["slim", str(source), "--tasks", *tasks, "-o", str(small)]) == 0
    assert f"cut {', '.join(tasks)} out of tiny into {small}" in capsys.readouterr().out
    whole, found = reading.read(source), reading.read(small)
    assert list(found.masks) == masks and isinstance(found.routing, ByTask)
    assert found.routing.tasks == {task: TASKS[task] for task in tasks}
    assert found.mask == whole.masks[masks[-1]]
    assert found.lineage.settings["slim"] == {"of": whole.sha256, "tasks": sorted(tasks)}
    assert found.lineage.fingerprint == whole.lineage.fingerprint
    image_HWC = np.random.default_rng(1).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    for task in tasks:
        before, after = (Restorer(ticket, threads=1)(image_HWC, task=task) for ticket in (whole, found))
        assert np.array_equal(before, after)
    if masks[-1] != "heavy":
        assert small.stat().st_size < source.stat().st_size


def test_half_precision_stays_and_levels_that_would_be_rounded_again_are_refused(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, code in (("fp16", 0), ("int8", 2)):
        path = source.with_name(f"{kind}.safetensors")
        writing.write(packed(reading.read(source), kind), path)  # type: ignore[arg-type]
        small = source.with_name(f"small-{kind}.safetensors")
        assert main(["slim", str(path), "--tasks", "denoise_15", "-o", str(small)]) == code
        assert small.exists() == (code == 0)
    assert (
        "the ticket's values are int8 in units of weights that would go; slim the ticket"
        in capsys.readouterr().err
    )


def test_what_cannot_be_cut_out_is_one_sentence(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = reading.read(source)
    other = source.with_name("other.safetensors")
    levels = ByWork(kind="work", levels={"light": 0.3, "middle": 0.6, "heavy": 1.0})
    writing.write(replace(whole, routing=levels), other)
    small = source.with_name("small.safetensors")
    for path, tasks, sentence in (
        (source, ["x4"], "does not undo 'x4'; its tasks are dehaze, denoise_15, denoise_50, derain"),
        (source, ["dehaze", "dehaze"], "the task dehaze is named twice; name it once"),
        (
            other,
            ["dehaze"],
            "the ticket tiny has no sub-networks for tasks, its routing is by work: .* by task",
        ),
    ):
        assert main(["slim", str(path), "--tasks", *tasks, "-o", str(small)]) == 2
        said = capsys.readouterr().err
        assert sentence.split(": .*")[0] in said and said.count("\n") == 1
        assert not small.exists()
    small.write_text("mine")
    assert main(["slim", str(source), "--tasks", "dehaze", "-o", str(small)]) == 2
    assert "exists; --force" in capsys.readouterr().err and small.read_text() == "mine"

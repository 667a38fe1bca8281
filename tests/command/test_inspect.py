import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.command.inspect import bar
from mirl.command.main import main
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets import reading, writing
from mirl.tickets.routing import ByTask
from mirl.tickets.ticket import Ticket


@pytest.fixture
def sparse(does_nothing: Any, tmp_path: Path) -> Path:
    """Of `tail.weight` nothing is left, of `head.weight` half."""
    whole = does_nothing()
    keep = {name: tensor.clone() for name, tensor in whole.mask.items()}
    keep["tail.weight"].zero_()
    keep["head.weight"][:2] = False
    path = tmp_path / "sparse.safetensors"
    ticket = Ticket(
        network=whole.network, state=whole.state, masks=Masks.one(Mask(keep)), lineage=whole.lineage
    )
    writing.write(ticket, path)
    return path


def test_for_people(sparse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(sparse)]) == 0
    said = capsys.readouterr().out
    assert (
        "version 2, verified" in said
        and "values       fp32\n" in said
        and "nafnet" in said
        and "static" in said
    )
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert "nothing is left" in lines["tail.weight"] and "0.00%  0 of 432" in lines["tail.weight"]
    assert "50.00%  216 of 432" in lines["head.weight"] and "█" * 12 + "·" * 12 in lines["head.weight"]


def test_for_programs(sparse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(sparse), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verified"] is True and facts["format"] == "mirl-ticket"
    assert facts["bytes"] == sparse.stat().st_size
    assert facts["layers"]["head.weight"] == {"kept": 216, "total": 432, "density": 0.5}
    assert facts["lineage"]["name"] == "tiny"


@pytest.fixture
def several(does_nothing: Any, tmp_path: Path) -> Callable[..., Path]:
    """Two masks, of which `light` keeps nothing but a half of `head.weight`; `heavy` keeps all, or the other half."""

    def make(nested: bool) -> Path:
        whole = does_nothing()
        light = {name: torch.zeros_like(keep) for name, keep in whole.mask.items()}
        light["head.weight"][:2] = True
        heavy = {name: torch.ones_like(keep) for name, keep in whole.mask.items()}
        heavy["head.weight"][:2] = nested
        path = tmp_path / "several.safetensors"
        tasks = {"derain": "heavy", "denoise_15": "light", "dehaze": "heavy"}
        masks = Masks({"light": Mask(light), "heavy": Mask(heavy)})
        writing.write(replace(whole, masks=masks, routing=ByTask(kind="task", tasks=tasks)), path)
        return path

    return make


def total_of(path: Path) -> int:
    return reading.read(path).mask.total


@pytest.mark.parametrize("nested", [True, False])
def test_several_masks_and_what_chooses_them(
    nested: bool, several: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = several(nested)
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    words = "2, each keeps all that the one before it keeps" if nested else "2, not nested"
    assert f"masks        {words}\n" in said and "version 3, verified" in said
    assert "routing      by task: heavy for dehaze, derain; light for denoise_15\n" in said
    table = said.partition("density of each mask\n")[2].splitlines()
    assert table[0].startswith("light  ██▌") and "216 of" in table[0]
    assert table[0].endswith("  own 216  shared 0")
    assert table[1].endswith(f"  shared {216 * nested}")
    matrix = said.partition("whose weights each uses, of all prunable ones; ")[2].splitlines()
    own = f"{216 / total_of(path):.2%}"
    assert matrix[0] == "0.00% are free" and matrix[1].split() == ["light", "heavy"]
    assert matrix[2].split() == ["light", own] and matrix[3].split()[1] == (own if nested else "0.00%")
    assert table[1].startswith("heavy  █") and table[2:4] == ["", "density of each layer"]
    assert main(["inspect", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    total = sum(layer["total"] for layer in facts["layers"].values())
    light, heavy = facts["masks"]
    assert (light["name"], heavy["name"], facts["nested"]) == ("light", "heavy", nested)
    assert light["density"] == 216 / total and sum(light["kept"]) == 216
    assert heavy["density"] == 1 - (0 if nested else 216 / total)
    assert facts["density"]["prunable"] == 1 and facts["routing"]["kind"] == "task"


def test_what_a_requirement_owns_is_counted_in_the_blocks_of_its_arm(
    several: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = several(True)
    ticket = reading.read(path)
    arm = {"method": "png", "structure": {"kind": "blocks", "outputs": 2, "inputs": 2}}
    lineage = ticket.lineage.model_copy(update={"settings": {"arm": arm}})
    writing.write(replace(ticket, lineage=lineage), path)
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "own 216 in 6 units  shared 0" in said  # 2 of 4 outputs and 12 inputs of `head.weight`
    assert "shared 216 in 6 units" in said
    assert main(["inspect", str(path), "--json"]) == 0
    masks = json.loads(capsys.readouterr().out)["masks"]
    assert masks[0]["own"] == masks[1]["shared"] == {"weights": 216, "units": 6}
    strange = ticket.lineage.model_copy(update={"settings": {"arm": {"method": "of another mirl"}}})
    writing.write(replace(ticket, lineage=strange), path)
    assert main(["inspect", str(path)]) == 0
    assert "own 216  shared 0" in capsys.readouterr().out


def test_one_mask_is_shown_as_ever(sparse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(sparse)]) == 0
    said = capsys.readouterr().out
    assert "routing      static\nticket       tiny" in said and "density of each mask" not in said
    assert main(["inspect", str(sparse), "--json"]) == 0
    assert not {"masks", "nested"} & json.loads(capsys.readouterr().out).keys()


def test_a_changed_weight_is_noticed(ticket_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(ticket_file.read_bytes())
    content[-1] ^= 1
    ticket_file.write_bytes(content)
    assert main(["inspect", str(ticket_file)]) == 2
    assert "digest differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("density", "expected"),
    [(1, "█" * 24), (0, "·" * 24), (1e-9, "▏" + "·" * 23), (1.5 / 24, "█▌" + "·" * 22)],
)
def test_bars(density: float, expected: str) -> None:
    assert bar(density) == expected


def test_bar_never_overflows() -> None:
    assert {len(bar(float(density))) for density in torch.linspace(0, 1, 1001)} == {24}

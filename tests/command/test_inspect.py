import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.command.inspect import bar
from mirl.command.main import main
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets import writing
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

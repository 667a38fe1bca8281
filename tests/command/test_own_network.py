"""Tickets of a network of a user's own: nothing of it runs unless `--network` names it."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirl.command.main import main
from mirl.networks import allow, imported
from mirl.serve.messages import WorkerOptions
from mirl.serve.worker import Worker
from mirl.tickets import reading, writing
from tests.own_network import NAME, TRACE, UNET, write_network

pytestmark = pytest.mark.usefixtures("nothing_allowed")
COMMANDS = {
    "restore": ["restore", "photo.png", "-o", "out.png", "--ticket", "t.safetensors"],
    "pack": ["pack", "t.safetensors", "-o", "out.safetensors"],
    "export": ["export", "t.safetensors", "-o", "out.pt2"],
}


@pytest.fixture
def folder(tmp_path: Path, make_ticket: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `t.safetensors`, a photograph, and a mynets/unet.py that leaves a trace."""
    monkeypatch.chdir(tmp_path)
    code = write_network(tmp_path, TRACE + UNET)
    allow(NAME, tmp_path)
    writing.write(make_ticket(NAME, options={"width": 4}), tmp_path / "t.safetensors")
    pixels_HWC = np.random.default_rng(0).integers(0, 256, (13, 10, 3), np.uint8)
    Image.fromarray(pixels_HWC).save(tmp_path / "photo.png")
    imported._allowed.clear()
    imported._loaded.clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "mynets"]:
        del sys.modules[name]
    code.with_suffix(".ran").unlink()
    return tmp_path


def ran(folder: Path) -> bool:
    return (folder / "mynets" / "unet.ran").exists()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_without_its_name_it_is_refused_and_not_imported(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mirl: error: t.safetensors: the network {NAME} is none of mirl's")
    assert "runs code of the module mynets.unet" in said and f"`--network {NAME}`" in said
    assert said.count("\n") == 1 and not ran(folder) and not list(folder.glob("out.*"))


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_with_the_name_of_another_it_is_refused_and_neither_is_imported(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--network", "mynets.unet:Other"]) == 2
    assert f"the network {NAME} is none of mirl's" in capsys.readouterr().err
    assert not ran(folder)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_with_its_name_it_works(command: list[str], folder: Path) -> None:
    assert main([*command, "--network", NAME]) == 0
    assert ran(folder) and list(folder.glob("out.*"))


def test_it_restores_as_its_network_does(folder: Path) -> None:
    import torch

    assert main([*COMMANDS["restore"], "--network", NAME]) == 0
    image_HWC = np.asarray(Image.open("photo.png"))
    image_BCHW = torch.from_numpy(image_HWC.copy()).permute(2, 0, 1)[None].float() / 255
    padded_BCHW = torch.nn.functional.pad(image_BCHW, (0, 0, 0, 1), mode="reflect")
    with torch.no_grad():
        out_BCHW = reading.read("t.safetensors").built().eval()(padded_BCHW)[..., :13, :]
    expected_HWC = (out_BCHW.clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255).round()
    assert np.abs(np.asarray(Image.open("out.png")) - expected_HWC).max() <= 1


def test_inspecting_shows_the_header_and_says_that_it_is_not_verified(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "t.safetensors"]) == 0
    said = capsys.readouterr().out
    assert f"not verified: `--network {NAME}` runs the code of its network and does" in said
    assert f'{NAME} {{"width": 4}}' in said and "head.weight" in said
    assert main(["inspect", "t.safetensors", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verified"] is False and facts["layers"]["head.weight"] == {
        "kept": 108, "total": 108, "density": 1.0,
    }  # fmt: skip
    assert not ran(folder)
    assert main(["inspect", "t.safetensors", "--json", "--network", NAME]) == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified == facts | {"verified": True} and ran(folder)


def test_a_source_that_has_changed_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = reading.inspect("t.safetensors")["network"]["source"]
    text = UNET.replace(".relu()", ".sigmoid()")
    write_network(folder, text)
    assert main([*COMMANDS["restore"], "--network", NAME]) == 2
    here = hashlib.sha256(text.encode()).hexdigest()
    assert f"source {made}, but mynets/unet.py here has {here}" in capsys.readouterr().err


def test_a_name_that_is_none_is_bad_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMANDS["restore"], "--network", "nafnet"]) == 2
    assert "'nafnet' is no network of your own" in capsys.readouterr().err


def test_a_server_restores_with_it_in_its_own_process(folder: Path) -> None:
    options = WorkerOptions(ticket=Path("t.safetensors"), threads=1, memory=2**30, pixels=10**5, network=NAME)
    with Worker(options) as worker:
        assert worker.open()["network"]["name"] == NAME
    assert "mynets.unet" not in sys.modules and ran(folder)

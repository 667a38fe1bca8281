"""File names, layers and findings that would move the cursor or write a line of their own: every command shows them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mirl.command.main import main
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets import writing
from mirl.tickets.ticket import Ticket
from tests.conftest import MakeTicket

NASTY = "a\x1b]0;owned\x07\x9b2J\u202e\nmirl: all is well\r"
SHOWN = r"a\x1b]0;owned\x07\x9b2J\u202e\nmirl: all is well\r"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    def look() -> str:
        """What was printed, once it holds nothing that acts on a terminal but ends of lines."""
        out, err = capsys.readouterr()
        assert (out + err).replace("\n", "").isprintable()
        assert "\nmirl: all is well" not in out + err
        return out + err

    return look


def photograph(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((5, 6, 3), 40, np.uint8)).save(path, "PNG")
    return path


def test_photographs_with_such_names_are_restored(
    ticket_file: Path, tmp_path: Path, said: Callable[[], str]
) -> None:
    album, out = tmp_path / "album", tmp_path / "out"
    for name in (f"{NASTY}.png", "--force.png", "-.png", os.fsdecode(b"caf\xe9.png"), "$(touch x).png"):
        photograph(album / name)
    (album / f"{NASTY}2.png").write_text("no picture")
    assert main(["restore", str(album), "-o", str(out), "--ticket", str(ticket_file)]) == 1
    assert f"{SHOWN}2.png is not an image" in said()
    assert len(list(out.iterdir())) == 5
    one = photograph(album / f"{NASTY}.png")
    assert main(["restore", str(one), "-o", str(out / f"{NASTY}.tif"), "--ticket", str(ticket_file)]) == 0
    assert f"restored {out}/{SHOWN}.tif with" in said()
    lost = album / os.fsdecode(b"lost\xff\x1b.png")
    assert main(["restore", str(lost), "-o", str(out / "x.png"), "--ticket", str(ticket_file)]) == 2
    assert r"lost\xff\x1b.png does not exist" in said()


def test_arguments_are_quoted_as_they_can_be_shown(said: Callable[[], str], tmp_path: Path) -> None:
    for arguments in (["inspect", f"{tmp_path}/{NASTY}"], ["study", NASTY], ["inspect", "x", NASTY]):
        try:
            assert main(arguments) == 2
        except SystemExit as ended:
            assert ended.code == 2
        assert len(said().splitlines()) == 1


def test_data_is_checked(tmp_path: Path, said: Callable[[], str]) -> None:
    for place in ("train", "test"):
        photograph(tmp_path / "photos" / place / f"{NASTY}.png")
    (tmp_path / "photos" / "train" / f"{NASTY}2.png").write_text("no picture")
    sources = {name: {"kind": "folder", "path": name, "split": name} for name in ("train", "test")}
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"data": {"root": str(tmp_path / "photos"), "sources": sources}}))
    assert main(["data", "check", "--params", str(params)]) == 2
    text = said()
    assert f"{SHOWN}2.png" in text and f"{SHOWN}.png  =  " in text


def test_a_layer_with_such_a_name_is_refused(
    tmp_path: Path, make_ticket: MakeTicket, said: Callable[[], str]
) -> None:
    ticket: Ticket = make_ticket()
    name = f"layer{NASTY}"
    state = {**ticket.state, name: torch.ones(2, 2)}
    mask = Mask({**dict(ticket.mask.items()), name: torch.ones(2, 2, dtype=torch.bool)})
    path = tmp_path / "ticket.safetensors"
    writing.write(
        Ticket(network=ticket.network, state=state, masks=Masks.one(mask), lineage=ticket.lineage), path
    )
    for arguments in (["inspect", str(path)], ["inspect", "--json", str(path)]):
        assert main(arguments) == 2
        said()
    changed = writing.write(ticket, path)
    assert main(["inspect", "--json", str(path)]) == 0 and json.loads(said())["sha256"] == changed


def test_a_decision_that_somebody_wrote_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    import pandas as pd

    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").mkdir()
    table = {"name": [NASTY], "density/prunable": [0.5], "verdict": [NASTY], "beats_controls": [""]}
    pd.DataFrame(table).to_parquet(tmp_path / "report" / "comparison.parquet")
    decision = {"ticket": None, "reasons": [NASTY]}
    (tmp_path / "report" / "decision.json").write_text(json.dumps(decision))
    assert main(["report"]) == 0
    assert f"\n{SHOWN}\n" in said()
    for ticket in ("../x", "-x", NASTY, 7):
        (tmp_path / "report" / "decision.json").write_text(json.dumps(decision | {"ticket": ticket}))
        assert main(["report"]) == 2
        assert "is no decision" in said()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_does_not_know_a_letter_gets_an_escape(
    encoding: str, ticket_file: Path, tmp_path: Path
) -> None:
    album, out = tmp_path / "album", tmp_path / "größe 写真"
    for name in (os.fsdecode(b"caf\xe9.png"), "写真.png", "n" * 251 + ".png"):
        photograph(album / name)
    command = ["restore", str(album), "-o", str(out), "--ticket", str(ticket_file)]
    done = begun(command, {"PYTHONIOENCODING": encoding})
    assert done.returncode == 0 and done.stderr == b""
    shown = str(out).encode(encoding, "backslashreplace")
    assert done.stdout.startswith(b"restored 3 of 3 photographs to " + shown)
    assert len(list(out.iterdir())) == 3


def test_a_user_without_a_home_or_a_name_restores(ticket_file: Path, tmp_path: Path) -> None:
    """As in a container that runs under a number: nobody knows where this user's caches are."""
    one, out = photograph(tmp_path / "a.png"), tmp_path / "out.png"
    code = (
        "import os, pwd, runpy\nos.environ.pop('HOME', None)\nos.environ.pop('XDG_CACHE_HOME', None)\n"
        "def nobody(number): raise KeyError(number)\npwd.getpwuid = nobody\n"
        "runpy.run_module('mirl.command.main', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code, "restore", str(one), "-o", str(out), "--ticket", str(ticket_file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and out.exists()


def test_a_ticket_may_have_a_name_that_is_not_utf_8(
    ticket_file: Path, tmp_path: Path, said: Callable[[], str]
) -> None:
    named = ticket_file.rename(tmp_path / os.fsdecode(b"caf\xe9.safetensors"))
    packed = tmp_path / os.fsdecode(b"small\xff.safetensors")
    assert main(["pack", str(named), "-o", str(packed)]) == 0 and r"small\xff.safetensors" in said()
    out = tmp_path / "out.png"
    one = photograph(tmp_path / "a.png")
    for ticket in (named, packed):
        command = ["restore", str(one), "-o", str(out), "--force", "--ticket", str(ticket)]
        assert main(command) == 0 and said()


def test_a_name_that_is_too_long_fails_alone(
    ticket_file: Path, tmp_path: Path, said: Callable[[], str]
) -> None:
    one, out = photograph(tmp_path / "a.png"), tmp_path / "out"
    inputs = [str(tmp_path / ("n" * 252 + ".png")), str(one)]
    assert main(["restore", *inputs, "-o", str(out), "--ticket", str(ticket_file)]) == 1
    assert ".png: file name too long" in said() and [path.name for path in out.iterdir()] == ["a.png"]


def begun(command: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "mirl.command.main", *command],
        capture_output=True,
        env=os.environ | environment,
    )

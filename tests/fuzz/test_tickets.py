"""Spoilt tickets through `mirl inspect` and `mirl restore`."""

from pathlib import Path

import pytest
from PIL import Image

from mirl.command.main import main
from tests.fuzz.conftest import said_clearly, within_bounds
from tests.fuzz.mutations import mutations
from tests.fuzz.victim import TELL

CASES, SEED = 400, 1


def test_each_is_refused_in_a_sentence_or_works(
    tickets: list[bytes], pictures: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt, photo, out = tmp_path / "spoilt.safetensors", tmp_path / "photo.png", tmp_path / "restored.png"
    photo.write_bytes(pictures[0])
    codes = []
    for name, data in mutations(tickets, CASES, SEED):
        spoilt.write_bytes(data)
        with within_bounds(name):
            looked = main(["inspect", str(spoilt)])
            said_clearly(name, looked, capsys.readouterr())
            command = ["restore", str(photo), "-o", str(out), "--ticket", str(spoilt), "--memory", "128M"]
            code, said = main(command), capsys.readouterr()
            said_clearly(name, code, said)
            if TELL in said.err:
                code = main([*command, "--task", "derain"])
                said_clearly(name, code, capsys.readouterr())
        assert out.exists() == (code == 0), name
        assert code == 2 or looked == 0, f"{name} restores, but cannot be inspected"
        if code == 0:
            assert Image.open(out).size == Image.open(photo).size
            out.unlink()
        codes.append(code)
    assert 0.02 < codes.count(0) / CASES < 0.5, "most damage is found, and some does none"

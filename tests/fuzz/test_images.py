"""Spoilt pictures through `mirl restore`, with a ticket that changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from mirl.command.main import main
from mirl.restore import image_file
from tests.fuzz.conftest import said_clearly, within_bounds
from tests.fuzz.mutations import mutations

CASES, SEED = 400, 2


def test_each_is_refused_in_a_sentence_or_comes_back(
    pictures: list[bytes], ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt, out = tmp_path / "spoilt", tmp_path / "restored.png"
    codes = []
    for name, data in mutations(pictures, CASES, SEED):
        spoilt.write_bytes(data)
        with within_bounds(name):
            code = main(
                ["restore", str(spoilt), "-o", str(out), "--ticket", str(ticket_file), "--memory", "128M"]
            )
        said_clearly(name, code, capsys.readouterr())
        assert out.exists() == (code == 0), name
        if code == 0:
            before, after = image_file.read(spoilt), image_file.read(out)
            assert np.array_equal(before.rgb_HWC, after.rgb_HWC), name
            out.unlink()
        codes.append(code)
    assert 0.02 < codes.count(0) / CASES < 0.7, "most damage is found, and some does none"

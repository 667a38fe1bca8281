from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.command.main import main
from mirl.runtime import export
from mirl.runtime.export import Format
from mirl.sparsity.masks import Masks
from mirl.tickets import reading, writing
from mirl.tickets.routing import ByTask


@pytest.fixture
def trained(make_ticket: Any, tmp_path: Path) -> Path:
    path = tmp_path / "trained.safetensors"
    writing.write(make_ticket(), path)
    return path


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format whose files say that every picture is grey."""
    fake = Format(
        packages=(),
        write=lambda *_: b"grey",
        run=lambda _: lambda x: torch.full_like(x, 0.5),
        least=lambda _: 1,
    )
    monkeypatch.setitem(export.FORMATS, ".grey", fake)


def test_a_file_that_pytorch_reads(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained.with_name("model.pt2")
    assert main(["export", str(trained), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"exported tiny to {out}: {out.stat().st_size / 1e6:.2f} MB, the ticket has 0.0" in said
    assert "0.0e+00 of 1 at most (batch x height x width: 1 x 5 x 5, " in said
    facts = dict.fromkeys(("mirl.ticket", "mirl.sha256"), "")
    image_BCHW = torch.rand(1, 3, 21, 30)
    restored_BCHW = torch.export.load(out, extra_files=facts).module()(image_BCHW)
    assert restored_BCHW.shape == image_BCHW.shape
    assert facts["mirl.sha256"] == reading.read(trained).sha256


@pytest.mark.usefixtures("off")
def test_what_differs_from_the_ticket_is_not_written(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(trained), "-o", str(trained.with_name("model.grey"))]) == 2
    assert "would differ from the ticket by" in capsys.readouterr().err
    assert [path.name for path in trained.parent.iterdir()] == ["trained.safetensors"]


def test_files_are_kept_and_endings_known(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained.with_name("model.onnx")
    out.write_text("mine")
    assert main(["export", str(trained), "-o", str(out)]) == 2
    assert "exists; --force" in capsys.readouterr().err and out.read_text() == "mine"
    assert main(["export", str(trained), "-o", str(trained.with_name("model.h5"))]) == 2
    assert "ends in .onnx or .pt2" in capsys.readouterr().err


def test_the_sub_network_of_a_task_is_exported(make_ticket: Any, tmp_path: Path, capsys: Any) -> None:
    whole = make_ticket()
    masks = Masks(dict.fromkeys(["light", "heavy"], whole.mask))
    routing = ByTask(kind="task", tasks={"derain": "light", "dehaze": "heavy"})
    ticket, out = tmp_path / "t.safetensors", tmp_path / "t.onnx"
    writing.write(replace(whole, masks=masks, routing=routing), ticket)
    assert main(["export", str(ticket), "-o", str(out)]) == 2
    assert "has to be told what to undo; name a task: dehaze, derain" in capsys.readouterr().err
    assert main(["export", str(ticket), "-o", str(out), "--task", "dehaze"]) == 0 and out.exists()

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mirl import __version__
from mirl.command import main as command
from mirl.command import study
from mirl.command.main import main
from mirl.config import UserError


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(*_: object) -> int:
        raise error

    monkeypatch.setattr(study, "run", run)


@pytest.mark.parametrize("text", ["", "G", "-1G", "1X", "1 2"])
def test_other_amounts_are_bad_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["restore", "a.png", "-o", "b.png", f"--memory={text}"])
    assert "expected one like 512M" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["paint"], ["restore"], ["restore", "a"], ["data"], ["inspect"]])
def test_bad_usage_is_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    said = capsys.readouterr().err
    assert said.startswith("mirl: error: ") and said.count("\n") == 1 and "--help`" in said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("this is wrong"), 2, "mirl: error: this is wrong\n"),
        (KeyboardInterrupt(), 130, "mirl: stopped\n"),
        (
            OSError(errno.ENOSPC, "No space", "x.png"),
            2,
            "mirl: error: the disk is full (x.png); free some space",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "x.png"),
            2,
            "mirl: error: x.png: permission denied",
        ),
    ],
)
def test_what_goes_wrong_is_said_without_traceback(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(monkeypatch, error)
    assert main(["study"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ValueError("a mistake of ours"))
    with pytest.raises(ValueError, match="a mistake of ours"):
        main(["study"])


def test_nobody_reads_on(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "demo.yaml").write_text("study: demo")
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "mirl.command.main", "study"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    with process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == command.BROKEN_PIPE


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"mirl {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom mirl.command.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'PIL', 'pydantic', 'yaml', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_is_there_at_once() -> None:
    def cpu_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = cpu_seconds()  # not by the clock: other programs share the cores
    for _ in range(3):
        subprocess.run([sys.executable, "-m", "mirl.command.main", "--help"], check=True, capture_output=True)
    assert (cpu_seconds() - before) / 3 < 0.3

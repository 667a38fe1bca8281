"""A process of its own that reads forged tickets: it may hang or be killed without taking the tests with it."""

import gc
import io
import resource
import signal
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from mirl.command.main import main
from mirl.config import UserError
from mirl.tickets import reading
from mirl.tickets.ticket import Ticket
from tests.fuzz.attacks import attacks
from tests.fuzz.measuring import Taken, measured

TELL = "has to be told what to undo"
"""What a ticket of several sub-networks says where no task is asked for."""
SPARE = 3 * 2**30
"""Bytes of addresses that an attack may take: what wants more fails here, and not with the machine."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a victim is to do."""

    whole: list[bytes]
    """Good tickets and a state."""
    picture: bytes
    folder: Path
    numbers: range
    seed: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one file."""

    name: str
    wrong: str
    """What should not have happened; empty where all is well."""
    restores: bool
    taken: list[Taken]
    """Of `mirl inspect`, `mirl restore` and the reading as a state."""
    said: str
    size: int
    """Bytes of the file, holes too."""


def suffer(job: Job, pipe: Connection) -> None:
    """Send the verdicts on the good files, None, and then that on each attack."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path, photo = job.folder / "forged.safetensors", job.folder / "photo.png"
    photo.write_bytes(job.picture)
    path.write_bytes(job.whole[0])
    good = reading.read(path)
    for last in (False, True):  # once, so that all is loaded and compiled, and then to be measured
        for number, data in enumerate(job.whole):
            path.write_bytes(data)
            verdict = judge(f"good {number}", path, photo, good)
            if last:
                pipe.send(verdict)
    pipe.send(None)
    room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    for name, file in attacks(job.whole, job.numbers, job.seed):
        file.write(path)
        del file
        pipe.send(judge(name, path, photo, good))
    pipe.close()


def judge(name: str, path: Path, photo: Path, good: Ticket) -> Verdict:
    """Read the file at `path` in every way that there is."""
    out = photo.with_suffix(".out.png")
    gc.collect(0)
    command = [
        "restore",
        str(photo),
        "-o",
        str(out),
        "--ticket",
        str(path),
        "--memory",
        "128M",
        "--threads",
        "1",
    ]
    looked, looking = _run(["inspect", str(path)])
    restored, restoring = _run(command)
    if TELL in restored and not restored.startswith("!"):
        restored, restoring = _run([*command, "--task", "derain"])
    stated, stating = _state(path, good)
    wrong = [said for said in (looked, restored, stated) if said.startswith("!")]
    if (restored == "") != out.exists():
        wrong.append("! the picture is there and the command failed, or the other way round")
    if looked != "" and restored == "":
        wrong.append(f"! it restores, but inspect says {looked}")
    out.unlink(missing_ok=True)
    said = f"{looked[:300]} / {restored[:300]} / {stated[:300]}"
    return Verdict(
        name=name,
        wrong="; ".join(wrong),
        restores=restored == "",
        taken=[looking, restoring, stating],
        said=said,
        size=path.stat().st_size,
    )


def _run(command: list[str]) -> tuple[str, Taken]:
    """What a command says in one sentence, empty where it succeeds; with a ! before what should not be."""
    said, shown = io.StringIO(), io.StringIO()
    with measured() as taken, redirect_stderr(said), redirect_stdout(shown):
        try:
            code = main(command)
        except BaseException:
            return f"! {traceback.format_exc()[-1500:]}", taken
    text = said.getvalue()
    if code == 0:
        return ("" if text == "" else f"! success, and {text!r}"), taken
    return _judged(text.removeprefix("mirl: error: "), code == 2 and text.startswith("mirl: error: ")), taken


def _state(path: Path, good: Ticket) -> tuple[str, Taken]:
    with measured() as taken:
        try:
            reading.read_state(path, good)
        except UserError as error:
            return _judged(f"{error}\n", True), taken
        except BaseException:
            return f"! {traceback.format_exc()[-1500:]}", taken
    return "", taken


def _judged(text: str, right: bool) -> str:
    one = text.endswith("\n") and text[:-1].isprintable() and len(text) < 2000
    return text[:-1] if right and one else f"! no sentence: {text[:2000]!r}"

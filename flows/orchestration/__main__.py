"""A lottery on this machine, without a server: every stage of a study that is out of date.

python -m flows.orchestration                       the study of params.yaml, as `dvc repro` would make it
python -m flows.orchestration --study bench --set train.steps=100 --jobs 2
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from flows.graph import cache_folder, changed_sources, read_graph, read_sources
from flows.orchestration.checkout import refuse_changes
from flows.orchestration.dispatch import INTERRUPTED
from flows.orchestration.flow import Placement, Source, lottery
from flows.orchestration.heartbeat import STOPPED
from flows.orchestration.runner import Dvc
from flows.orchestration.servers import plain_errors, temporary
from flows.tracking.store import Store
from mirl import terminal
from mirl.config import UserError
from mirl.files import read_text
from mirl.names import named
from mirl.yaml import parse_yaml


def main(arguments: list[str] | None = None) -> int:
    terminal.guard()
    parser = argparse.ArgumentParser(
        prog="python -m flows.orchestration", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "targets", nargs="*", metavar="STAGE", help="what to make, with what it needs (default: all)"
    )
    parser.add_argument("--study", default="", help="one of studies/ (default: what params.yaml says)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="such as arms.global.fraction=0.2"
    )
    parser.add_argument("--jobs", type=_jobs, default=1, help="stages at once (default: 1)")
    parser.add_argument("--promote", action="store_true", help="promote the report's ticket at the end")
    wanted = parser.parse_args(arguments)
    root = Path.cwd()
    signal.signal(signal.SIGINT, _interrupt)
    home = root / ".mirl" / "lottery"
    own = not wanted.study and not wanted.set  # then the result is what `dvc repro` would have made here
    try:
        if wanted.study:
            named(wanted.study, "--study")  # it becomes the name of a file
        overrides = dict(_override(text) for text in wanted.set)
        if not (root / "params.yaml").exists():
            raise UserError("there is no params.yaml here; run this in the folder of the study")
        _refuse_what_workers_would_not_get(root)
        os.environ.setdefault("MLFLOW_TRACKING_URI", Store(root).uri)
        lock = root / "dvc.lock" if own else home / f"{wanted.study or 'changed'}.lock"
        with plain_errors(), temporary(root):
            state = lottery(
                Source(repository=str(root), params=read_text(root / "params.yaml")),
                Placement(jobs=wanted.jobs, home=str(home), cache=str(cache_folder(root)), lock=str(lock)),
                wanted.study,
                overrides,
                wanted.targets,
                wanted.promote,
                return_state=True,
            )
        if own and state.is_completed():
            Dvc(root, print).checkout([*read_graph(root, wanted.targets)] if wanted.targets else None)
    except UserError as error:
        return terminal.fail(error)
    if state.name == STOPPED or state.is_cancelled():
        print(state.message, file=sys.stderr)
        return 130
    if state.is_failed():
        return terminal.fail(state.message)
    print(state.message, file=sys.stderr)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    INTERRUPTED.set()
    signal.signal(number, signal.SIG_DFL)  # a second Ctrl-C ends the process at once


def _refuse_what_workers_would_not_get(root: Path) -> None:
    refuse_changes(root, read_sources(root))
    if changed := changed_sources(root):
        raise UserError(
            f"{changed[0]} was changed after `dvc add`; add it again and commit, or `dvc checkout` it"
        )


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _override(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UserError(f"--set takes NAME=VALUE, such as arms.global.fraction=0.2; got {text!r}")
    return name, parse_yaml(value, f"--set {text}")


if __name__ == "__main__":
    sys.exit(main())

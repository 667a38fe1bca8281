"""The command that DVC runs: `python -m flows.stage NAME [KEY]`.

Exit codes: 0 done; 2 the user can mend the error, one sentence says how; 75 stopped, run the command again to go on.
"""

import argparse
import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import IO

from flows.child_process import EXIT_STOPPED
from mirl.training.parent_process import end_with_parent

if __name__ == "__main__":
    end_with_parent()  # before torch is imported, which takes seconds

from flows.tracking import ticket_sink
from mirl import terminal
from mirl.config import Stopped, UserError
from mirl.networks import is_own
from mirl.networks.imported import loaded
from mirl.study.params import read_params
from mirl.study.stages import STAGES
from mirl.study.stop_signal import StopSignal
from mirl.study.study import Study
from mirl.yaml import read_yaml


def main(arguments: list[str] | None = None) -> int:
    terminal.guard()
    parser = argparse.ArgumentParser(prog="python -m flows.stage", description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=sorted(STAGES), help="which stage of dvc.yaml to make")
    parser.add_argument(
        "key", nargs="?", default="", help="the round's name, for stages that have one per round"
    )
    wanted = parser.parse_args(arguments)
    held = hold_all()
    root = Path.cwd()
    try:
        params = read_params(root / "params.yaml", own=root)
        if wanted.stage == "init" and is_own(params.network.name):
            _warn_of_unnamed(root, params.network.name)
        study = Study(root=root, params=params, open_sink=ticket_sink, should_stop=StopSignal())
        STAGES[wanted.stage](study, wanted.key)
    except UserError as error:
        return terminal.fail(error)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return EXIT_STOPPED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return terminal.fail(
            f"the disk is full ({error}); free some space and run this again, nothing is lost"
        )
    finally:
        for handle in held:
            handle.close()
    return 0


def _warn_of_unnamed(root: Path, network: str) -> None:
    """Warn of the files of a user's own network at which DVC does not look."""
    stages = read_yaml(root / "dvc.yaml")["stages"] if (root / "dvc.yaml").exists() else {}
    named = [
        dep
        for item in stages.get("init", {}).get("deps", [])
        for dep in ([item] if isinstance(item, str) else item)
    ]
    unnamed = [
        file for file in loaded(network).files if not any(Path(file).is_relative_to(dep) for dep in named)
    ]
    if unnamed:
        print(
            f"warning: DVC does not see changes of {', '.join(unnamed)}; name what your network is made of in dvc.yaml, "
            "under `deps` of the stage `init`",
            file=sys.stderr,
        )


def hold_all() -> list[IO[str]]:
    """Lock the files that MIRL_HOLD names, until the returned handles are closed."""
    return [_hold(Path(path)) for path in os.environ.get("MIRL_HOLD", "").split(os.pathsep) if path]


def _hold(path: Path) -> IO[str]:
    """Lock a file while this process lives, after waiting for another process that holds the lock.

    The process that began this one may die first, and another must not begin the same work beside it.
    """
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for a process that still does the same work", file=sys.stderr)
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


if __name__ == "__main__":
    sys.exit(main())

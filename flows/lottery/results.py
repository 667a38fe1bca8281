"""Brings what the last lottery on workers has made into this folder: its dvc.lock, and the files that it names."""

import argparse
import sys
from pathlib import Path

from prefect.settings import PREFECT_API_URL

from flows.graph import read_graph
from flows.lottery.lockfile import LockFile
from flows.lottery.memory import LockArtifact
from flows.lottery.runner import Dvc
from mirl.config import UserError
from mirl.study.params import read_params


def bring(root: Path) -> int:
    """Put the lock entries of the study in `root` into its dvc.lock, check out their results; returns how many.

    UserError where no lottery of it has run on that server, or a result cannot be had here.
    """
    study = read_params(root / "params.yaml").study
    entries = LockArtifact(study).load()
    if not entries:
        raise UserError(
            f"no lottery of {study!r}, the study of params.yaml, has run on {PREFECT_API_URL.value()}; "
            "`mirl study NAME` chooses another"
        )
    LockFile(root / "dvc.lock").add(entries)
    names = [name for name in read_graph(root) if name in entries]
    Dvc(root, print).fetch(names)
    return len(names)


def main() -> int:
    argparse.ArgumentParser(
        prog="python -m flows.lottery.results", description=(__doc__ or "").splitlines()[0]
    ).parse_args()
    try:
        if not PREFECT_API_URL.value():
            raise UserError("PREFECT_API_URL is not set; set it to the address that `make server` prints")
        print(f"dvc.lock has the entries of {bring(Path.cwd())} stages, and their results are here")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

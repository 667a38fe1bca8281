"""Import into this folder of the results of the last lottery on workers: its dvc.lock, and the files that it names."""

import argparse
import sys
from pathlib import Path

from prefect.settings import PREFECT_API_URL

from flows.graph import read_graph
from flows.orchestration.lock_store import LockArtifact
from flows.orchestration.lockfile import LockFile
from flows.orchestration.runner import Dvc
from flows.orchestration.servers import reached
from mirl import terminal
from mirl.config import UserError
from mirl.study.params import read_params


def bring(root: Path) -> tuple[int, int]:
    """Put the kept lock entries of the study in `root` into its dvc.lock, and check out their results.

    Returns how many stages are up to date by the params.yaml here, and how many there are.

    Raises UserError if no lottery of the study has run on that server, or a result cannot be had here; dvc.lock then
    stays as it was.
    """
    study = read_params(root / "params.yaml", own=None).study
    entries = LockArtifact(study).load()
    if not entries:
        raise UserError(
            f"no lottery of {study!r}, the study of params.yaml, has run on {PREFECT_API_URL.value()}; "
            "`mirl study NAME` chooses another"
        )
    file = LockFile(root / "dvc.lock")
    before = file.load()
    file.add(entries)
    try:
        Dvc(root, print).fetch([name for name in read_graph(root) if name in entries])
    except UserError:
        file.write(before)
        raise
    nodes = read_graph(root).values()
    return sum(node.current for node in nodes), len(nodes)


def main() -> int:
    terminal.guard()
    argparse.ArgumentParser(
        prog="python -m flows.orchestration.results", description=(__doc__ or "").splitlines()[0]
    ).parse_args()
    try:
        with reached(Path.cwd()):
            current, stages = bring(Path.cwd())
        print(f"{current} of {stages} stages are up to date here, by params.yaml and source as they are here")
        print("`git checkout dvc.lock && dvc checkout` goes back to what is committed")
    except UserError as error:
        return terminal.fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The door to MLflow's tracking: live curves from a training, and the import of what a study has made.

python -m flows.tracking sync            every ticket of the study in this folder
python -m flows.tracking ui              MLflow's pages over the embedded store
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.live import LiveSink, Recorder
from mirl.config import UserError
from mirl.records import Sink

if TYPE_CHECKING:
    from flows.importing import Synced

# MLflow takes seconds to import. A training must not wait for it: what needs it is imported where it is used.

_IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
"""For curves that can be imported later: a server that is down is given up after seconds, not minutes."""


def ticket_sink(fingerprint: str, name: str, study: str) -> Sink:
    """A sink that shows the training of ticket `name` live, in the run of `fingerprint`; never holds it up.

    The store is that of the current folder, where DVC runs its stages.
    """
    root = Path.cwd()
    for key, value in _IMPATIENT.items():
        os.environ.setdefault(key, value)

    def open_recorder() -> Recorder:
        from flows.importing import git_revision
        from flows.runs import StudyRuns, TicketRun
        from flows.store import Store

        store = Store(root)
        run = StudyRuns(store, study).make_ticket(fingerprint, name, imported=False)
        recorder = TicketRun(store, run)
        recorder.begin()
        if revision := git_revision(root):
            store.client.set_tag(run.info.run_id, "git_revision", revision)
        return recorder

    return LiveSink(name, open_recorder)


def sync(root: Path, names: list[str] | None = None) -> "list[Synced]":
    """See `flows.importing.sync`."""
    from flows import importing

    return importing.sync(root, names)


def show(root: Path, port: int) -> int:
    """Run MLflow's pages over the store of `root` at 127.0.0.1:`port` until it is stopped; its exit code."""
    from flows.store import Store

    store = Store(root)
    if store.artifacts is None:
        raise UserError(
            f"MLFLOW_TRACKING_URI is set ({store.shown}): look there, or unset it to see the embedded store"
        )
    print(f"MLflow's pages: http://127.0.0.1:{port} (Ctrl-C ends them)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri]
    command += ["--default-artifact-root", store.artifacts, "--host", "127.0.0.1", "--port", str(port)]
    return subprocess.run(command, check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.tracking", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the study (default: this one)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    syncing = commands.add_parser(
        "sync", help="bring the study's tickets and report into MLflow; again is harmless"
    )
    syncing.add_argument(
        "names", nargs="*", metavar="TICKET", help="tickets by name (default: all of params.yaml)"
    )
    pages = commands.add_parser("ui", help="MLflow's pages over the embedded store")
    pages.add_argument("--port", type=int, default=5000, help="port on this machine (default: 5000)")
    wanted = parser.parse_args(arguments)
    try:
        if wanted.command == "ui":
            return show(wanted.root, wanted.port)
        done = sync(wanted.root, wanted.names or None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what is missing comes with the next run of this command", file=sys.stderr)
        return 130
    counts = {what: sum(ticket.what == what for ticket in done) for what in ("made", "completed", "there")}
    print(f"MLflow has {len(done)} tickets: {', '.join(f'{count} {what}' for what, count in counts.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

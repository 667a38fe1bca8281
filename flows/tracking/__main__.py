"""Command line of the tracking, `python -m flows.tracking`: import a study into MLflow, and show MLflow's pages."""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

from flows import login, tracking
from mirl import terminal
from mirl.config import UserError


def show(root: Path, port: int) -> int:
    """Serve MLflow's pages over the store of `root` at 127.0.0.1:`port` until stopped; return the server's exit code.

    Raises UserError if MLFLOW_TRACKING_URI names a server, or something serves at the port already.
    """
    from flows.tracking import server
    from flows.tracking.store import Store

    store = Store(root)
    if store.artifacts is None:
        raise UserError(
            f"MLFLOW_TRACKING_URI is set ({store.shown}): look there, or unset it to see the embedded store"
        )
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(
                f"something serves at port {port} already, such as `make server` with its own MLflow; "
                "choose another: `python -m flows.tracking ui --port N`"
            )
    environment = os.environ | server.settings(root, "127.0.0.1", port)
    print(f"MLflow's pages: http://127.0.0.1:{port} (Ctrl-C ends them)")
    print(f"Name and password are in {login.file(root)}", flush=True)
    command = [sys.executable, "-m", *server.COMMAND, "--backend-store-uri", store.uri]
    command += ["--default-artifact-root", store.artifacts, "--host", "127.0.0.1", "--port", str(port)]
    return subprocess.run(command, env=environment, check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    terminal.guard()
    parser = argparse.ArgumentParser(
        prog="python -m flows.tracking", description=(tracking.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the study (default: this one)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    syncing = commands.add_parser(
        "sync", help="bring the study's tickets and report into MLflow; again is harmless"
    )
    syncing.add_argument(
        "names", nargs="*", metavar="TICKET", help="tickets by name (default: all of params.yaml)"
    )
    pages = commands.add_parser("ui", help="MLflow's pages over the embedded store")
    pages.add_argument(
        "--port", type=int, choices=range(1, 65536), default=5000, metavar="N",
        help="port on this machine (default: 5000)",
    )  # fmt: skip
    wanted = parser.parse_args(arguments)
    try:
        if wanted.command == "ui":
            return show(wanted.root, wanted.port)
        done = tracking.sync(wanted.root, wanted.names or None)
    except UserError as error:
        return terminal.fail(error)
    except KeyboardInterrupt:
        print("stopped; what is missing comes with the next run of this command", file=sys.stderr)
        return 130
    counts = {what: sum(ticket.what == what for ticket in done) for what in ("made", "completed", "there")}
    print(f"MLflow has {len(done)} tickets: {', '.join(f'{count} {what}' for what, count in counts.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

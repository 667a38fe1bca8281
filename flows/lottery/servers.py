"""Prefect's and MLflow's servers on this machine, with embedded SQLite, and the worker that runs the lotteries."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from flows.tracking.store import ARTIFACTS, Store
from mirl.config import UserError

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
START_SECONDS = 90.0
"""The longest that a server may take until it answers."""

QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def serve(root: Path) -> int:
    """Run both servers and the control worker until one ends or a signal comes; all end together."""
    store = Store(root)
    if store.artifacts is None:
        raise UserError(f"MLFLOW_TRACKING_URI is set ({store.shown}); unset it, or use that server")
    api, tracking = f"http://127.0.0.1:{PREFECT_PORT}/api", f"http://127.0.0.1:{MLFLOW_PORT}"
    place = root.resolve() / ".mirl"
    environment = os.environ | QUIET | {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": tracking}
    environment.setdefault("PREFECT_HOME", str(place / "prefect"))
    python = [sys.executable, "-m", "flows.lifeline", str(os.getpid())]
    mlflow = [
        "mlflow",
        "server",
        "--backend-store-uri",
        store.uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(MLFLOW_PORT),
    ]
    mlflow += ["--artifacts-destination", str(store.root / ARTIFACTS), "--workers", "1"]
    for port in (PREFECT_PORT, MLFLOW_PORT):
        _refuse_taken(port)
    begun: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        for name, command in {
            "prefect": ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PREFECT_PORT)],
            "mlflow": mlflow,
        }.items():
            log = place / "logs" / f"{name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            begun.append(
                subprocess.Popen(
                    [*python, *command], env=environment, stdout=log.open("ab"), stderr=subprocess.STDOUT
                )
            )
        _wait(f"{api}/health", begun[0], place / "logs" / "prefect.log")
        _wait(f"{tracking}/health", begun[1], place / "logs" / "mlflow.log")
        print(f"Prefect  {api.removesuffix('/api')}\nMLflow   {tracking}\nlogs     {place / 'logs'}")
        print(f"To use them: export PREFECT_API_URL={api} MLFLOW_TRACKING_URI={tracking}", flush=True)
        control = [*python, "flows.lottery.deployments", "worker", "control"]
        begun.append(subprocess.Popen(control, env=environment))
        while all(process.poll() is None for process in begun):
            time.sleep(1)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for process in reversed(begun):
            process.terminate()
        for process in begun:
            process.wait()


def _refuse_taken(port: int) -> None:
    with socket.socket() as asking:
        if asking.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"something serves port {port} of this machine already; stop it, or use it")


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    last = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
    raise UserError(f"the server at {address} did not come up ({last}); its log is {log}")


def main() -> int:
    argparse.ArgumentParser(
        prog="python -m flows.lottery.servers", description=(__doc__ or "").splitlines()[0]
    ).parse_args()
    try:
        return serve(Path.cwd())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

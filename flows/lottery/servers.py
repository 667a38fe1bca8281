"""Prefect's and MLflow's servers on this machine, and the worker that runs the lotteries.

They keep their records in embedded SQLite, unless PREFECT_SERVER_DATABASE_CONNECTION_URL and MLFLOW_BACKEND_STORE_URI name
databases (the tools' own variables); MLFLOW_ARTIFACTS_DESTINATION is the folder or bucket behind MLflow's proxy.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.tracking.store import ARTIFACTS, Store
from mirl.config import UserError

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
LOOPBACK = ("127.0.0.1", "localhost")
START_SECONDS = 90.0
"""The longest that a server may take until it answers."""
START_ATTEMPTS = 3
FREE_PORTS = range(20_000, 32_000)
"""Where a temporary server looks for a port: below those that the system gives to clients' ends."""
END_SECONDS = 30.0
"""The longest that a server, or the worker, may take to end when it is told to."""


def serve(root: Path, host: str) -> int:
    """Run both servers and the control worker until one ends or a signal comes; all end together."""
    api, tracking = f"http://{host}:{PREFECT_PORT}/api", f"http://{host}:{MLFLOW_PORT}"
    place = root.resolve() / ".mirl"
    environment = _stores(root) | os.environ | {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": tracking}
    environment.setdefault("PREFECT_HOME", str(place / "prefect"))
    environment.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", f"{host}:{MLFLOW_PORT},{host}")
    environment["PYTHONUNBUFFERED"] = "1"
    servers = {
        "prefect": (api, ["server", "start", "--host", host, "--port", str(PREFECT_PORT)]),
        "mlflow": (tracking, ["server", "--host", host, "--port", str(MLFLOW_PORT), "--workers", "1"]),
    }
    for port in (PREFECT_PORT, MLFLOW_PORT):
        _refuse_taken(host, port)
    if host not in LOOPBACK and not environment.get("PREFECT_SERVER_API_AUTH_STRING"):
        print(
            f"Whoever reaches {host} can run code on your workers: keep it behind a firewall, or set "
            "PREFECT_SERVER_API_AUTH_STRING here and PREFECT_API_AUTH_STRING everywhere",
            file=sys.stderr,
        )
    begun: dict[str, subprocess.Popen[bytes]] = {}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that begins it with `&` has it ignored
    try:
        for name, (_, command) in servers.items():
            begun[name] = _begin([name, *command], environment, _log(place, name))
        for name, (address, _) in servers.items():
            if not _answers(f"{address}/health", begun[name]):
                raise _silent(address, _log(place, name))
        print(f"Prefect  {api.removesuffix('/api')}\nMLflow   {tracking}\nlogs     {place / 'logs'}")
        print(f"To use them: export PREFECT_API_URL={api} MLFLOW_TRACKING_URI={tracking}", flush=True)
        begun["worker"] = _begin(["flows.lottery.deployments", "worker", "control"], environment, None)
        while all(process.poll() is None for process in begun.values()):
            time.sleep(1)
        name = next(name for name, process in begun.items() if process.poll() is not None)
        raise UserError(f"{name} ended with code {begun[name].returncode}; its log is {_log(place, name)}")
    except KeyboardInterrupt:
        return 0
    finally:
        for process in reversed(begun.values()):  # the worker first: without its server it does not end
            _end(process)


def _begin(command: list[str], environment: dict[str, str], log: Path | None) -> "subprocess.Popen[bytes]":
    """A module that ends when we do, also at SIGKILL; a Ctrl-C is ours to pass on."""
    lifeline = [sys.executable, "-m", "flows.lifeline", str(os.getpid())]
    if log is None:
        return subprocess.Popen([*lifeline, *command], env=environment, start_new_session=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        return subprocess.Popen(
            [*lifeline, *command], env=environment, stdout=said, stderr=said, start_new_session=True
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def temporary(root: Path) -> Iterator[None]:
    """A Prefect server for this process alone, unless the settings name one; it ends with it, however that ends."""
    if PREFECT_API_URL.value():
        yield
        return
    log = _log(root.resolve() / ".mirl", "prefect")
    for port in random.SystemRandom().sample(FREE_PORTS, START_ATTEMPTS):
        api = f"http://{LOOPBACK[0]}:{port}/api"
        command = ["prefect", "server", "start", "--host", LOOPBACK[0], "--port", str(port)]
        server = _begin(command, os.environ | {"PREFECT_API_URL": api}, log)
        if _answers(f"{api}/health", server):
            break
        _end(server)
    else:
        raise _silent(api, log)
    try:
        with temporary_settings({PREFECT_API_URL: api}):
            yield
            APILogHandler().flush()  # what it has not sent yet
    finally:
        _end(server)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the errors of Prefect's client, and of the way to its server, into a UserError of one sentence."""
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"Prefect at {PREFECT_API_URL.value()} did not take it ({said}); `make server` begins one, PREFECT_API_URL "
            "and PREFECT_API_AUTH_STRING say where it is and who may use it"
        ) from None


def _stores(root: Path) -> dict[str, str]:
    """Where MLflow keeps its records and files, unless its own variables say: the study's SQLite file."""
    if database := os.environ.get("MLFLOW_BACKEND_STORE_URI"):
        if database.startswith("postgresql:"):  # SQLAlchemy would look for another driver than is installed
            raise UserError(
                "MLFLOW_BACKEND_STORE_URI begins with postgresql:, which names no driver; write postgresql+psycopg2:"
            )
        return {"MLFLOW_ARTIFACTS_DESTINATION": str(root.resolve() / ARTIFACTS)}
    store = Store(root)
    if store.artifacts is None:
        raise UserError(
            f"MLFLOW_TRACKING_URI is set ({store.shown}), so a server runs already; use it, or unset this. "
            "A database for the server that begins here is named by MLFLOW_BACKEND_STORE_URI"
        )
    return {
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_ARTIFACTS_DESTINATION": str(store.root / ARTIFACTS),
    }


def _log(place: Path, name: str) -> Path:
    return place / "logs" / f"{name}.log"


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket() as asking:
        try:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asking.bind((host, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {host} cannot be served ({error.strerror}); stop what serves it, or name "
                "another address of this machine with --host"
            ) from None


def _answers(address: str, process: "subprocess.Popen[bytes]") -> bool:
    """Whether a server answers in its time, and before it ends."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    return False


def _silent(address: str, log: Path) -> UserError:
    last = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
    return UserError(f"the server at {address} did not come up ({last}); its log is {log}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.lottery.servers",
        description=(__doc__ or "").splitlines()[0],
        epilog="Databases, artifacts, allowed hosts and passwords are set by Prefect's and MLflow's own variables.",
    )
    parser.add_argument(
        "--host",
        default=LOOPBACK[0],
        help="the address that other machines know this one by (default: %(default)s)",
    )
    wanted = parser.parse_args()
    try:
        if wanted.host in ("", "0.0.0.0", "::"):
            raise UserError(
                f"--host is {wanted.host!r}; it is to be the address that others reach this machine by, such as 10.0.0.5"
            )
        return serve(Path.cwd(), wanted.host)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

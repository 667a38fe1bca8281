"""Prefect's and MLflow's servers on this machine, and the worker that runs the lotteries.

They keep their records in embedded SQLite, unless PREFECT_SERVER_DATABASE_CONNECTION_URL and MLFLOW_BACKEND_STORE_URI
name databases (the tools' own variables); MLFLOW_ARTIFACTS_DESTINATION is the folder or bucket behind MLflow's proxy.
"""

import argparse
import os
import random
import shlex
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
from urllib.parse import urlsplit

import httpx
import psutil
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows import login
from flows.tracking import server
from flows.tracking.store import ARTIFACTS, Store
from mirl import terminal
from mirl.config import UserError

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
START_SECONDS = 90.0
"""Longest time that a server may take until it answers."""
START_ATTEMPTS = 3
FREE_PORTS = range(20_000, 32_000)
"""Ports that a temporary server tries: below those that the system gives to clients' ends."""
END_SECONDS = 30.0
"""Longest time that a server, or the worker, may take to end when it is told to."""


def serve(root: Path, host: str) -> int:
    """Run both servers and the control worker until one ends (UserError) or a signal comes; all end together."""
    api, tracking = f"http://{host}:{PREFECT_PORT}/api", f"http://{host}:{MLFLOW_PORT}"
    folder = root.resolve() / ".mirl"
    stores = _stores(root)
    for port in (PREFECT_PORT, MLFLOW_PORT):
        _refuse_taken(host, port)
    known = login.keep(root, PREFECT_API_URL=api, MLFLOW_TRACKING_URI=tracking)
    own = {name: value for name, value in os.environ.items() if value}
    own = {"PREFECT_HOME": str(folder / "prefect"), "PYTHONUNBUFFERED": "1"} | own
    mlflow = ["--host", host, "--port", str(MLFLOW_PORT), "--workers", "1"]
    servers = {
        "prefect": (api, _prefect(host, PREFECT_PORT), _prefect_settings(host, api, known) | own),
        "mlflow": (
            tracking,
            [*server.COMMAND, *mlflow],
            stores | server.settings(root, host, MLFLOW_PORT) | own,
        ),
    }
    begun: dict[str, subprocess.Popen[bytes]] = {}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that begins it with `&` has it ignored
    try:
        for name, (_, command, environment) in servers.items():
            begun[name] = _begin(command, environment, _log(folder, name))
        for name, (address, _, _) in servers.items():
            if not _answers(f"{address}/health", begun[name]):
                raise _silent(address, _log(folder, name))
        _refuse_other_users(tracking, known)
        print(f"Prefect  {api.removesuffix('/api')}\nMLflow   {tracking}\nlogs     {folder / 'logs'}")
        print(f"Whoever has the login runs code on the workers; it is in {login.file(root)}")
        print(f"To use them: source {shlex.quote(str(login.file(root)))}", flush=True)
        begun["worker"] = _begin(["flows.orchestration.deployments", "worker", "control"], own | known, None)
        while all(process.poll() is None for process in begun.values()):
            time.sleep(1)
        name = next(name for name, process in begun.items() if process.poll() is not None)
        where = f"its log is {_log(folder, name)}" if name in servers else "what it said stands above"
        raise UserError(f"{name} ended with code {begun[name].returncode}; {where}")
    except KeyboardInterrupt:
        return 0
    finally:
        for process in reversed(begun.values()):  # the worker first: without its server it does not end
            _end(process)


def _prefect(host: str, port: int) -> list[str]:
    return ["prefect", "server", "start", "--host", host, "--port", str(port)]


def _prefect_settings(host: str, api: str, known: dict[str, str]) -> dict[str, str]:
    """Return the variables for Prefect's server, which accepts the login in `known` and only its own browser pages."""
    secret = known["PREFECT_API_AUTH_STRING"]
    settings = {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": secret}
    names = server.names(host)
    if names[0].startswith("127."):  # elsewhere it may have names that we do not know
        origins = (f"http://{name}:{urlsplit(api).port}" for name in names)
        settings["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins)
    return settings | {"PREFECT_SERVER_API_AUTH_STRING": secret}


def _begin(command: list[str], environment: dict[str, str], log: Path | None) -> "subprocess.Popen[bytes]":
    """Begin a module that ends when this process does, also at SIGKILL; a Ctrl-C reaches it only through this process.

    A module with a log is a server: nobody else can read what it writes.
    """
    in_child = [sys.executable, "-m", "flows.child_process", str(os.getpid())]
    if log is None:
        return subprocess.Popen([*in_child, *command], env=environment, start_new_session=True)
    login.private(log.parent)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as said:
        return subprocess.Popen(
            [*in_child, *command],
            env=environment, stdout=said, stderr=said, start_new_session=True, umask=0o077,
        )  # fmt: skip


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def temporary(root: Path) -> Iterator[None]:
    """Run a Prefect server for this process alone, unless the settings name one; it ends with the block or process."""
    if PREFECT_API_URL.value():
        yield
        return
    log, host, secret = _log(root.resolve() / ".mirl", "prefect"), server.LOOPBACK[0], login.drawn_login()
    for port in random.SystemRandom().sample(FREE_PORTS, START_ATTEMPTS):
        api = f"http://{host}:{port}/api"
        settings = _prefect_settings(host, api, {"PREFECT_API_AUTH_STRING": secret})
        process = _begin(_prefect(host, port), os.environ | settings, log)
        if _answers(f"{api}/health", process):
            break
        _end(process)
    else:
        raise _silent(api, log)
    try:
        with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: secret}):
            yield
            APILogHandler().flush()  # what it has not sent yet
    finally:
        _end(process)


@contextmanager
def reached(root: Path) -> Iterator[None]:
    """Use Prefect's server as the settings name it, with the login that `root` keeps for it, and with plain errors.

    Raises UserError if no server is named: Prefect would begin one of its own, which asks nobody for a login.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise UserError("PREFECT_API_URL is not set; set it to the address that `make server` prints")
    known = {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": PREFECT_API_AUTH_STRING.value() or ""}
    secret = login.lacking(root, known).get("PREFECT_API_AUTH_STRING")
    with temporary_settings({PREFECT_API_AUTH_STRING: secret} if secret else {}), plain_errors():
        yield


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the errors of Prefect's client, and of the connection to its server, into a UserError of one sentence."""
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        url = PREFECT_API_URL.value()
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 401:
            raise UserError(
                f"Prefect at {url} asks for another login than PREFECT_API_AUTH_STRING holds; `source` the file that "
                "its `make server` names, .mirl/login/exports, or a copy of it"
            ) from None
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"Prefect at {url} did not take it ({said}); `make server` begins one, PREFECT_API_URL "
            "and PREFECT_API_AUTH_STRING say where it is and who may use it"
        ) from None


def _stores(root: Path) -> dict[str, str]:
    """Return the variables for MLflow's records and files: the study's SQLite file, unless MLflow's own are set."""
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


def _log(folder: Path, name: str) -> Path:
    return folder / "logs" / f"{name}.log"


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


def _refuse_other_users(tracking: str, known: dict[str, str]) -> None:
    """Raise UserError if MLflow does not answer, or has users already of which none is ours with this password."""
    pair = (known["MLFLOW_TRACKING_USERNAME"], known["MLFLOW_TRACKING_PASSWORD"])
    try:
        answer = httpx.get(f"{tracking}/api/2.0/mlflow/users/current", auth=pair, timeout=START_SECONDS)
    except httpx.HTTPError as error:
        raise UserError(
            f"MLflow at {tracking} does not answer ({type(error).__name__}); see its log"
        ) from None
    if answer.status_code == 401:
        raise UserError(
            f"MLflow's users were made with another password for {pair[0]} than it is told now; start with that one in "
            "MLFLOW_AUTH_ADMIN_PASSWORD, or remove mlflow-users.db beside the login, and its users with it"
        )


def _answers(address: str, process: "subprocess.Popen[bytes]") -> bool:
    """Return whether our server answers in START_SECONDS, before it ends; another may have taken the port meanwhile."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                if _listens(process, urlsplit(address).port):
                    return True
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.5)
    return False


def _listens(process: "subprocess.Popen[bytes]", port: int | None) -> bool:
    """Return whether the process, or one that it began, listens at the port."""
    try:
        begun = psutil.Process(process.pid)
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for each in [begun, *begun.children(recursive=True)]
            for connection in each.net_connections("tcp")
        )
    except psutil.NoSuchProcess:
        return False


def _silent(address: str, log: Path) -> UserError:
    last = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
    return UserError(f"the server at {address} did not come up ({last}); its log is {log}")


def main() -> int:
    terminal.guard()
    parser = argparse.ArgumentParser(
        prog="python -m flows.orchestration.servers",
        description=(__doc__ or "").splitlines()[0],
        epilog="Databases, artifacts, allowed hosts and passwords are set by Prefect's and MLflow's own variables.",
    )
    parser.add_argument(
        "--host",
        default=server.LOOPBACK[0],
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
        return terminal.fail(error)


if __name__ == "__main__":
    sys.exit(main())

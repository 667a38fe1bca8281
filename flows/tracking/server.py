"""Settings of MLflow's server: it asks for a login, and answers to no other name than its own."""

import configparser
import io
import secrets
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from flows import login
from flows.tracking.store import sqlite_address
from mirl.config import UserError
from mirl.files import write_whole

LOOPBACK = ("127.0.0.1", "localhost")
COMMAND = ("mlflow", "server", "--app-name", "basic-auth")
CACHE_SECONDS = 60
"""Time that a correct password is not hashed anew, which takes 0.1 s; the server forgets it when it is changed."""

ANSWER_SECONDS = 10


def names(host: str) -> tuple[str, ...]:
    """Return the names by which a server at `host` is asked for."""
    return LOOPBACK if host in LOOPBACK else (host,)


def settings(root: Path, host: str, port: int) -> dict[str, str]:
    """Return the variables for COMMAND at `host` and `port`: the login of `root` may do everything, others read."""
    known = login.keep(root)
    asked = {asked: known[said] for said, asked in login.LOGINS["MLFLOW_TRACKING_URI"].items()}
    return asked | {
        "MLFLOW_AUTH_CONFIG_PATH": str(_configuration(login.folder(root))),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        # its default is every address of a private network, and so 10.example.org as well
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{name}:{port}" for name in names(host)),
    }


def _configuration(folder: Path) -> Path:
    """Write MLflow's file for its login anew and return its path; the file holds no secret, the users lie beside it."""
    parser = configparser.ConfigParser(interpolation=None)
    parser["mlflow"] = {
        "default_permission": "READ",
        "database_uri": sqlite_address((folder / "mlflow-users.db").absolute()).replace("%", "%%"),
        "authorization_function": "flows.tracking.authorization:authorize",
        "auth_cache_ttl_seconds": str(CACHE_SECONDS),
    }
    path = folder / "mlflow.ini"
    text = io.StringIO()
    parser.write(text)
    write_whole(path, text.getvalue().encode())  # a server may be reading it
    return path


def refuse_strangers(address: str) -> None:
    """Raise UserError if the server at `address` asks for another login than MLflow's variables hold.

    A worker would notice only when its first training is done.
    """
    if not address.startswith("http"):
        return
    try:
        answer = http_request(
            get_default_host_creds(address), "/api/2.0/mlflow/users/current", "GET",
            max_retries=0, timeout=ANSWER_SECONDS, raise_on_status=False,
        )  # fmt: skip
    except MlflowException:
        return  # it may come later, and no training waits for it
    if answer.status_code == 401:
        raise UserError(
            f"MLflow at {address} asks for another login than MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "hold; `source` the file that its `make server` names, .mirl/login/exports, or a copy of it"
        )

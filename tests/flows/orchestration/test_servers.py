"""What `make server` refuses, and that no server outlives the process that began it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.orchestration import servers
from flows.orchestration.servers import _refuse_taken, _stores
from mirl.config import UserError


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="cannot be served"):
            _refuse_taken("127.0.0.1", other.getsockname()[1])


def test_a_temporary_server_whose_port_is_taken_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with socket.socket() as other, socket.socket() as asking:
        other.bind(("127.0.0.1", 0))
        other.listen()
        asking.bind(("127.0.0.1", 0))
        taken, free = other.getsockname()[1], asking.getsockname()[1]
        asking.close()
        monkeypatch.setattr(servers, "FREE_PORTS", [taken, free])
        monkeypatch.setattr(servers, "START_ATTEMPTS", 2)
        monkeypatch.setattr("random.SystemRandom.sample", lambda self, ports, number: ports[:number])
        with servers.temporary(tmp_path):
            assert PREFECT_API_URL.value() == f"http://127.0.0.1:{free}/api"
    assert "already in use" in (tmp_path / ".mirl" / "logs" / "prefect.log").read_text()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MLFLOW_BACKEND_STORE_URI", "postgresql://mlflow@db/mlflow", "write postgresql\\+psycopg2:"),
        ("MLFLOW_TRACKING_URI", "http://elsewhere:5000", "a server runs already"),
    ],
)
def test_a_store_that_cannot_be_served_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    for other in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=sentence):
        _stores(tmp_path)


def test_a_database_of_the_users_own_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql+psycopg2://mlflow@db/mlflow")
    assert _stores(tmp_path) == {"MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "mlartifacts")}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_of_a_local_lottery_ends_with_it(tmp_path: Path, number: int) -> None:
    program = (
        "import time; from pathlib import Path; from flows.orchestration.servers import temporary\n"
        "with temporary(Path.cwd()): print('up', flush=True); time.sleep(600)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_PROFILES_PATH": str(tmp_path / "none.toml"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    begun = _children(process.pid)
    assert begun
    process.send_signal(number)
    process.wait()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{server}").exists() for server in begun):
        assert time.monotonic() < until, f"{begun} are still there"
        time.sleep(0.1)


def _children(process: int) -> list[int]:
    """The processes that it began, and those that they began."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [found for child in map(int, listed) for found in (child, *_children(child))]


ANSWERING = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *said): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_another_server_at_the_port_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be told the login."""
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = asking.getsockname()[1]
    other = subprocess.Popen([sys.executable, "-c", ANSWERING, str(port)])
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert servers._answers(f"http://127.0.0.1:{port}/health", other)
        monkeypatch.setattr(servers, "START_SECONDS", 3.0)
        assert not servers._answers(f"http://127.0.0.1:{port}/health", ours)
    finally:
        for process in (other, ours):
            process.kill()
            process.wait()

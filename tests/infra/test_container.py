"""What runs inside the containers: the first process, the health checks, the store's script."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows.orchestration.runner import GRACE_SECONDS
from tests.infra.conftest import INFRA, Service

ENTRYPOINT = INFRA / "container" / "entrypoint.py"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, INFRA / "container" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server whose pool `demo` has a worker for whoever knows the password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/well" else 503)
            self.end_headers()

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers["Authorization"] == "Basic bWlybDpzZWNyZXQ="  # mirl:secret
            self.send_response(200 if known else 401)
            self.end_headers()
            there = self.path == "/api/work_pools/demo/workers/filter" and "ONLINE" in str(asked)
            self.wfile.write(json.dumps([{"name": "w"}] if there else []).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_is_well_or_not(address: str) -> None:
    check = load("healthcheck").main
    assert check(["http", f"{address}/well"]) == 0
    assert check(["http", f"{address}/ill"]) == 1
    assert check(["http", "http://127.0.0.1:9/"]) == 1
    assert check(["http"]) == 2


def test_a_worker_is_well_where_it_runs_and_is_known(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = load("healthcheck").main
    monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "mirl:secret")
    assert check(["worker", "demo"]) == 1, "none runs here"
    words = ["worker", "start", "--pool", "demo"]
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *words])
    try:
        deadline = time.monotonic() + 10
        while check(["worker", "demo"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert check(["worker", "demo"]) == 0
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", "mirl:wrong")
        assert check(["worker", "demo"]) == 1
    finally:
        process.kill()
        process.wait()


STAGE = """
import signal, subprocess, sys, time
if sys.argv[1:]:
    def end(*_):
        time.sleep(1)
        print("saved", flush=True)
        sys.exit(75)
    signal.signal(signal.SIGTERM, end)
    print("begun", flush=True)
    time.sleep(60)
else:
    subprocess.run([sys.executable, __file__, "stage"])
"""


def test_a_container_ends_when_its_stages_have(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(STAGE)
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    alone += [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no process namespace can be made here")
    command = [*alone, sys.executable, str(ENTRYPOINT), sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == "begun\n"
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert container.stdout.read() == "saved\n"
    assert container.returncode == 128 + signal.SIGTERM


def test_the_entry_point_signals_nobody_elses_processes() -> None:
    refused = subprocess.run([sys.executable, ENTRYPOINT, "true"], capture_output=True, text=True)
    assert refused.returncode == 2 and "first process" in refused.stderr


def test_the_entry_point_waits_longer_than_a_stage_and_less_than_compose(
    services: dict[str, Service],
) -> None:
    most = float(services["gpu"]["stop_grace_period"].removesuffix("s"))
    assert GRACE_SECONDS < load("entrypoint").GRACE_SECONDS < most


def test_buckets_are_made_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    boto3 = pytest.importorskip("boto3", reason="of the extra cluster")
    made = ["one"]

    class Store:
        def list_buckets(self) -> dict[str, Any]:
            return {"Buckets": [{"Name": name} for name in made]}

        def create_bucket(self, Bucket: str) -> None:
            made.append(Bucket)

    monkeypatch.setattr(boto3, "client", lambda kind: Store())
    assert load("buckets").main(["one", "two"]) == 0
    assert made == ["one", "two"] and capsys.readouterr().out == "one: there\ntwo: made\n"


def test_the_store_gets_two_keys(tmp_path: Path) -> None:
    weed = tmp_path / "weed"
    weed.write_text(
        '#!/bin/sh\nfor a; do case $a in -s3.config=*) cat "${a#*=}";; esac; done; echo "$@" >&2\n'
    )
    weed.chmod(0o755)
    names = ("MLFLOW_S3_KEY", "MLFLOW_S3_SECRET", "DVC_S3_KEY", "DVC_S3_SECRET")
    keys = {name: f"of-{name}" for name in names}
    plain = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    script = ["sh", str(INFRA / "store" / "start.sh"), "-s3.port=1"]
    begun = subprocess.run(script, env=plain | keys, capture_output=True, text=True, check=True)
    mlflow, dvc = json.loads(begun.stdout)["identities"]
    assert mlflow["credentials"] == [
        {"accessKey": "of-MLFLOW_S3_KEY", "secretKey": "of-MLFLOW_S3_SECRET"}
    ] and mlflow["actions"] == ["Admin"]
    assert dvc["credentials"] == [{"accessKey": "of-DVC_S3_KEY", "secretKey": "of-DVC_S3_SECRET"}]
    assert all(action.endswith(":mirl-dvc") for action in dvc["actions"])
    assert not any(value in begun.stderr for value in keys.values()), "arguments are seen by everybody"
    assert "-master.telemetry=false" in begun.stderr and begun.stderr.endswith("-s3.port=1\n")
    for name in keys:
        refused = subprocess.run(script, env=plain | {**keys, name: ""}, capture_output=True, text=True)
        assert refused.returncode and name in refused.stderr

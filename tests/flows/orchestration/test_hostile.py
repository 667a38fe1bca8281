"""What strangers ask of the servers of `make server`: a web page, another user, and who knows only the address."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mlflow.server.handlers import get_endpoints
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flows import login
from tests.flows.orchestration.served import START_SECONDS, Served, alone, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NOBODY = "00000000-0000-0000-0000-000000000000"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as there:
        yield there


WAYS = {
    "nothing": {},
    "a page": {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "a sandboxed page": {"Origin": "null"},
    "a rebound name": {"Host": "evil.example", "Origin": "http://evil.example"},
    "a guess": {"Authorization": "Basic bWlybDptaXJs"},
    "another scheme": {"Authorization": "Bearer mirl:mirl"},
    "no scheme": {"Authorization": ""},
}
EVIL = json.dumps({"name": "evil", "key": "evil", "type": "process", "flow_id": NOBODY}).encode()


def test_prefect_does_nothing_for_strangers_at_any_of_its_addresses(served: Served) -> None:
    with httpx.Client(base_url=f"{served.prefect}/api", timeout=60) as stranger:
        paths = stranger.get("/openapi.json", auth=served.prefect_login).json()["paths"]
        routes = [(method, re.sub(r"\{[^}]*\}", NOBODY, path)) for path in paths for method in paths[path]]
        routes += [
            ("get", "//health"),
            ("post", "/health"),
            ("get", "/flows/health"),
            ("get", "/openapi.json"),
        ]
        for number, (method, path) in enumerate(routes):
            way = list(WAYS)[number % len(WAYS)]
            answer = stranger.request(method, path, content=EVIL, headers=WAYS[way])  # without a type
            if (method, path) not in [("get", "/health"), ("get", "/ready")]:
                assert answer.status_code == 401, (method, path, way)
        assert len(routes) > 150
        for way, headers in WAYS.items():
            for path in (
                "/flows/",
                "/deployments/",
                "/work_pools/",
                f"/deployments/{NOBODY}/create_flow_run",
            ):
                assert stranger.post(path, content=EVIL, headers=headers).status_code == 401, (path, way)
        there = stranger.post("/flows/filter", json={}, auth=served.prefect_login)
        assert there.status_code == 200 and "evil" not in there.text
        pools = stranger.post("/work_pools/filter", json={}, auth=served.prefect_login)
        assert pools.status_code == 200 and "evil" not in pools.text


@pytest.mark.parametrize("page", ["http://evil.example", None])
def test_prefect_lets_no_other_page_read(served: Served, page: str | None) -> None:
    own = page or served.prefect
    answer = httpx.get(f"{served.prefect}/api/health", headers={"Origin": own})
    assert answer.headers.get("access-control-allow-origin") == (None if page else own)


@pytest.mark.parametrize("token", [None, "", "mirl:mirl"])
@pytest.mark.parametrize("host", [None, "evil.example"])
@pytest.mark.parametrize(
    "path",
    [
        "events/in",
        "events/out",
        "logs/out",
        "task_runs/subscriptions/scheduled",
        "work_pools/x/workers/connect",
    ],
)
def test_prefect_lets_no_stranger_into_its_sockets(
    served: Served, path: str, host: str | None, token: str | None
) -> None:
    spoken = [Subprotocol("prefect")] if token is not None else None
    with (
        socket.create_connection((served.host, 4200)) as way,
        pytest.raises((ConnectionClosed, InvalidStatus)) as refused,
        connect(
            f"ws://{host or served.host}:4200/api/{path}", sock=way, subprotocols=spoken,
            additional_headers={"Origin": "http://evil.example"},
        ) as opened,
    ):  # fmt: skip
        opened.send(json.dumps({"type": "auth", "token": token}))
        opened.send(json.dumps({"event": "evil", "resource": {"prefect.resource.id": "evil"}}))
        while True:
            assert "auth_success" not in str(opened.recv(60))
    if isinstance(refused.value, InvalidStatus):
        assert refused.value.response.status_code == 403
    else:
        assert isinstance(refused.value, ConnectionClosed)
        assert refused.value.rcvd is not None and refused.value.rcvd.code in (1002, 1008)


PUBLIC = {"/health", "/ajax-api/3.0/mlflow/server-info", "/api/3.0/mlflow/server-info"}


def test_mlflow_does_nothing_for_strangers_at_any_of_its_addresses(served: Served) -> None:
    asked = [
        (method, re.sub(r"<[^>]*>", "1", path))
        for path, _, methods in get_endpoints()
        for method in methods
        if path not in PUBLIC
    ]
    asked += [("POST", path) for path in ("/graphql", "/v1/traces", "/api/2.0/mlflow/users/create", "/mcp")]
    asked += [
        ("GET", "/"),
        ("GET", "/signup"),
        ("GET", "/get-artifact?path=x&run_uuid=1"),
        ("GET", "/version"),
    ]
    with httpx.Client(base_url=served.mlflow) as stranger:
        for number, (method, path) in enumerate(asked):
            way = list(WAYS)[number % len(WAYS)]
            answer = stranger.request(method, path, content=EVIL, headers=WAYS[way])
            refused = (
                {500, 401} if way == "another scheme" else {401, 403}
            )  # MLflow stumbles before it does anything
            assert answer.status_code in refused, (method, path, way, answer.status_code)
        there = stranger.get("/api/2.0/mlflow/experiments/search?max_results=9", auth=served.mlflow_login)
        assert [one["name"] for one in there.json()["experiments"]] == ["Default"]
    assert len(asked) > 100


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "10.evil.example"}]
)
def test_mlflow_refuses_a_page_even_of_a_browser_that_knows_the_login(
    served: Served, headers: dict[str, str]
) -> None:
    answer = httpx.post(
        f"{served.mlflow}/api/2.0/mlflow/experiments/create",
        content=EVIL, headers=headers, auth=served.mlflow_login,
    )  # fmt: skip
    assert answer.status_code == 403


def test_who_may_read_mlflow_writes_nothing_of_ours(served: Served) -> None:
    api, reader = f"{served.mlflow}/api/2.0/mlflow", ("reader", "reads-and-reads")
    with httpx.Client(auth=served.mlflow_login) as admin:
        made = {"username": reader[0], "password": reader[1]}
        assert admin.post(f"{api}/users/create", json=made).status_code == 200
        assert admin.post(f"{api}/registered-models/create", json={"name": "mirl"}).status_code == 200
    with httpx.Client(auth=reader) as client:
        assert client.get(f"{api}/registered-models/get?name=mirl").status_code == 200
        for path, body in {
            "registered-models/alias": {"name": "mirl", "alias": "champion", "version": "1"},
            "registered-models/set-tag": {"name": "mirl", "key": "sha256", "value": "evil"},
            "model-versions/create": {"name": "mirl", "source": "file:///evil"},
            "runs/create": {"experiment_id": "0"},
            "experiments/create": {"name": "evil", "artifact_location": "file:///evil"},
            "users/create": {"username": "other", "password": "reads-and-reads"},
        }.items():
            assert client.post(f"{api}/{path}", json=body).status_code == 403, path
            ajax = f"{served.mlflow}/ajax-api/2.0/mlflow/{path}"
            assert client.post(ajax, json=body).status_code == 403, path
        demo = f"{served.mlflow}/ajax-api/3.0/mlflow/demo/generate"
        assert client.post(demo, json={}).status_code == 403
        artifact = f"{served.mlflow}/api/2.0/mlflow-artifacts/artifacts/0/evil"
        assert client.put(artifact, content=b"evil").status_code == 403


def test_another_user_of_the_machine_can_read_nothing(served: Served) -> None:
    place = served.folder / ".mirl"
    for name in ("login", "logs", "prefect"):
        assert (place / name).stat().st_mode & 0o077 == 0, name
    for path in [*(place / "login").glob("exports"), *place.rglob("*.log"), *place.rglob("*.db*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    secrets = [served.known["MLFLOW_TRACKING_PASSWORD"].encode(), served.prefect_login[1].encode()]
    shown = list(Path("/proc").glob("[0-9]*/cmdline"))
    shown += [
        path for path in served.folder.rglob("*") if path.is_file() and path != login.file(served.folder)
    ]
    for path in shown:
        try:
            told = path.read_bytes()
        except OSError:  # a process that has ended
            continue
        assert not any(secret in told for secret in secrets), path


def test_other_terminals_of_the_folder_know_the_login(served: Served, tmp_path: Path) -> None:
    def begin(folder: Path, *command: str) -> "subprocess.Popen[str]":
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder, env=alone(PREFECT_API_URL=f"{served.prefect}/api"), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    inside = begin(served.folder, "flows.orchestration.deployments", "register", "--repository", ".")
    outside = [begin(tmp_path, "flows.orchestration.results")]
    outside += [begin(tmp_path, "flows.orchestration.deployments", "worker", "cpu")]
    for process in outside:
        said = process.communicate(timeout=START_SECONDS)[1]
        assert process.returncode == 2 and said.startswith("error: ") and said.count("\n") == 1, said
        assert "asks for another login" in said
    assert inside.wait(START_SECONDS) == 0, inside.communicate()[1]


PAGE = """<script>
const send = (url, body) => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include', body: new Blob([body])});
Promise.allSettled([
  send('PREFECT/api/flows/', '{"name": "evil"}'), send('PREFECT/api/work_pools/', '{"name": "evil", "type": "process"}'),
  send('MLFLOW/api/2.0/mlflow/experiments/create', '{"name": "evil"}'),
  send('MLFLOW/ajax-api/2.0/mlflow/registered-models/create', '{"name": "evil"}'),
]).then(() => document.title = 'sent')
</script>"""


class _Evil(BaseHTTPRequestHandler):
    page: bytes

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_page_open_beside_those_of_the_servers_changes_nothing(served: Served, browser: "Browser") -> None:
    name, password = served.mlflow_login
    page = PAGE.replace("PREFECT", served.prefect).replace("MLFLOW", served.mlflow).encode()
    evil = ThreadingHTTPServer(("127.251.0.1", 0), type("Evil", (_Evil,), {"page": page}))
    Thread(target=evil.serve_forever, daemon=True).start()
    with browser.new_context(http_credentials={"username": name, "password": password}) as context:
        context.set_default_timeout(60_000)
        tab = context.new_page()
        tab.goto(served.mlflow)
        tab.get_by_text("Welcome to MLflow").wait_for()
        tab.goto(served.prefect)
        tab.locator("input").fill(served.known["PREFECT_API_AUTH_STRING"])
        tab.keyboard.press("Enter")
        tab.get_by_text("Run a task or flow to get started").wait_for()
        tab.goto(f"http://127.251.0.1:{evil.server_port}")
        tab.wait_for_function("document.title == 'sent'")
    evil.shutdown()
    evil.server_close()
    for kind in ("flows", "work_pools"):
        answer = httpx.post(f"{served.prefect}/api/{kind}/filter", json={}, auth=served.prefect_login)
        assert answer.status_code == 200 and "evil" not in answer.text
    for kind in ("experiments", "registered-models"):
        url = f"{served.mlflow}/api/2.0/mlflow/{kind}/search?max_results=99"
        answer = httpx.get(url, auth=served.mlflow_login)
        assert answer.status_code == 200 and "evil" not in answer.text

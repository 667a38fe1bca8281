"""Prefect, MLflow, PostgreSQL, git and DVC's remote on one host, workers on two, a user on the fourth."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.cluster import study
from tests.cluster.hosts import DISK, Host, Network, until
from tests.cluster.services import let_in, serve_databases, serve_ssh

ADDRESSES = {"servers": "10.77.0.1", "worker-a": "10.77.0.2", "worker-b": "10.77.0.3", "user": "10.77.0.4"}
SERVERS = ADDRESSES["servers"]
WORKERS = ("worker-a", "worker-b")
PREFECT, MLFLOW = f"http://{SERVERS}:4200/api", f"http://{SERVERS}:5000"
GIT, DVC = f"ssh://root@{SERVERS}{DISK}/mirl.git", f"ssh://root@{SERVERS}{DISK}/dvc"
CLONE = f"{DISK}/study"
"""Of the user."""
PASSWORD = "the-word-of-this-cluster"
LOGIN = {
    "PREFECT_API_AUTH_STRING": f"mirl:{PASSWORD}", "MLFLOW_TRACKING_USERNAME": "mirl",
    "MLFLOW_TRACKING_PASSWORD": PASSWORD,
}  # fmt: skip
ENVIRONMENT = (
    LOGIN
    | {"PREFECT_API_URL": PREFECT, "MLFLOW_TRACKING_URI": MLFLOW, "OMP_NUM_THREADS": "1"}
    | {f"GIT_{who}_{what}": f"a@{SERVERS}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
)
PYTHON = (sys.executable, "-m")
WORKER = "(flows.orchestration.deployments worker|prefect worker start --pool)"

Run = dict[str, Any]
"""A flow run or an MLflow run, as its server tells it."""


class Cluster:
    """All hosts but the workers are up and serve; the study is pushed, the deployments are registered."""

    def __init__(self, network: Network, logs: Path) -> None:
        self.network, self._logs = network, logs
        self.servers = network.boot("servers", SERVERS, ENVIRONMENT)
        self._key = serve_ssh(self.servers, SERVERS)
        self.servers.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", f"{DISK}/mirl.git")
        let_in(self.servers, self.servers, SERVERS, self._key)
        self.user = self._boot("user")
        study.write_repository(self.user, CLONE, GIT, DVC)
        self._serve(serve_databases(self.servers))
        self.user.run(*PYTHON, "flows.orchestration.deployments", "register", folder=CLONE)

    def man(self, name: str) -> Host:
        """The worker host of that name, up, with a worker of each pool."""
        host = self.network.hosts.get(name)
        if host is None or not host.is_up:
            host = self._boot(name)
        for pool in ("gpu", "cpu"):
            if not workers(host, pool):
                host.start(pool, *PYTHON, "flows.orchestration.deployments", "worker", pool)
        return host

    def begin_plain(self, name: str, *targets: str, **changes: Any) -> Callable[[], dict[str, str]]:
        """Begin `dvc repro` in a clone of its own, with no server; returns what waits for its tickets' sha256."""
        folder = f"{DISK}/plain-{name}"
        self.user.run("git", "clone", "--quiet", GIT, folder)
        study.change(self.user.file(f"{folder}/params.yaml"), changes)
        alone = self.user.start(
            f"plain-{name}", "dvc", "repro", *targets, folder=folder, MLFLOW_TRACKING_URI=""
        )

        def ended() -> dict[str, str]:
            assert alone.wait() == 0
            return study.tickets(self.user, folder)

        return ended

    def begin_lottery(self, *targets: str, **changes: Any) -> str:
        """Ask for a lottery as the README says; returns the id of its run."""
        asked = {"targets": list(targets), "overrides": changes}
        given = [f"--param={name}={json.dumps(value)}" for name, value in asked.items()]
        said = self.user.run("prefect", "--no-prompt", "deployment", "run", "lottery/gpu", *given)
        found = re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", said)
        assert found, said
        return found[0]

    def completed(self, lottery: str) -> list[Run]:
        """Wait for the end of a lottery, which must be a good one; returns the runs of its stages, by their time."""
        until(
            lambda: self.flow_run(lottery)["state"]["type"] not in ("SCHEDULED", "PENDING", "RUNNING"),
            "an end",
            2,
        )
        run = self.flow_run(lottery)
        assert run["state_type"] == "COMPLETED", f"{run['state']['message']}\n{self.log_of(lottery)}"
        return self.stages(lottery)

    def flow_run(self, run: str) -> Run:
        return self.prefect(f"/flow_runs/{run}")

    def stages(self, lottery: str) -> list[Run]:
        """The runs that a lottery began on workers, by their time."""
        tags = {"flow_runs": {"tags": {"all_": [f"lottery:{lottery}"]}}}
        return sorted(self.prefect("/flow_runs/filter", tags), key=lambda run: run["created"])

    def states(self, run: Run) -> list[tuple[str, str]]:
        """Name and message of every state that a run was in."""
        found = self.prefect(f"/flow_run_states/?flow_run_id={run['id']}")
        return [(state["name"], state["message"] or "") for state in found]

    def done(self, stage: Run) -> dict[str, Any]:
        """What came of a stage, as its worker published it."""
        key = stage["idempotency_key"].rpartition("-")[0]
        text = self.prefect(f"/artifacts/work-{key}/latest")["data"]
        return dict(json.loads(text.strip().removeprefix("```json").removesuffix("```")))

    def log_of(self, run: str, lines: int = 60) -> str:
        """The last lines that a run and, where it is a lottery, its stages logged."""
        runs = [run, *(stage["id"] for stage in self.stages(run))]
        asked = {"logs": {"flow_run_id": {"any_": runs}}, "sort": "TIMESTAMP_DESC", "limit": lines}
        found = self.prefect("/logs/filter", asked)
        return "\n".join(f"{line['timestamp'][11:19]} {line['message']}" for line in reversed(found))

    def prefect(self, path: str, body: Any = None) -> Any:
        return self.user.ask(f"{PREFECT}{path}", body)

    def mlflow_runs(self, name: str) -> list[Run]:
        """All runs of a study in MLflow."""
        api = f"{MLFLOW}/api/2.0/mlflow"
        found = self.user.ask(f"{api}/experiments/get-by-name?experiment_name=mirl/{name}")
        asked = {"experiment_ids": [found["experiment"]["experiment_id"]], "max_results": 1000}
        return [run["info"] for run in self.user.ask(f"{api}/runs/search", asked).get("runs", [])]

    def mlflow_file(self, run: Run, name: str) -> bytes:
        """An artifact, through MLflow's proxy."""
        place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        return self.user.download(f"{MLFLOW}/api/2.0/mlflow-artifacts/artifacts/{place}/{name}")

    def _boot(self, name: str) -> Host:
        host = self.network.boot(name, ADDRESSES[name], ENVIRONMENT)
        let_in(host, self.servers, SERVERS, self._key)
        return host

    def _serve(self, database: str) -> None:
        folder = f"{DISK}/servers"
        self.servers.run("mkdir", folder)
        for name in ("prefect", "mlflow"):
            log = self.servers.file(f"{folder}/.mirl/logs/{name}.log")
            (self._logs / f"servers-{name}.log").symlink_to(log)
        stores = {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database}/prefect",
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{database}/mlflow",
            "PREFECT_SERVER_API_AUTH_STRING": LOGIN["PREFECT_API_AUTH_STRING"],
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        }
        command = (*PYTHON, "flows.orchestration.servers", "--host", SERVERS)
        # MLFLOW_TRACKING_URI is for those who use a server, not for the one who begins it
        serving = self.servers.start("all", *command, folder=folder, MLFLOW_TRACKING_URI="", **stores)
        log = self._logs / "servers-all.log"
        until(lambda: "To use them" in log.read_text() or serving.poll() is not None, "the servers come up")
        assert serving.poll() is None, log.read_text()


def workers(host: Host, pool: str = "") -> list[int]:
    """The processes that are a pool's worker on a host."""
    return [process for process, line in host.processes().items() if re.search(f"{WORKER} {pool}", line)]


def at_work(host: Host) -> list[str]:
    """What runs on a worker host beside its workers."""
    return [line for line in host.processes().values() if not re.search(WORKER, line)]


def training(hosts: list[Host]) -> tuple[Host, str] | None:
    """A host in the middle of a pruned round, and the round: it has a checkpoint, and is not at its end."""
    for host in hosts:
        for process, line in host.processes().items():
            found = re.search(r"flows\.stage round (\S+-r\d)$", line)
            with suppress(OSError):  # it has ended
                if found and _has_checkpoint(host, Path(f"/proc/{process}").stat().st_ctime):
                    return host, found[1]
    return None


def _has_checkpoint(host: Host, since: float) -> bool:
    places = host.file(f"{DISK}/.cache/mirl/resume").glob("*/*")
    return any(place.stat().st_mtime > since for place in places)

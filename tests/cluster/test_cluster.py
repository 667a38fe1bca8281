"""A study on several machines: the same tickets as on one, through kills as well. No file system is shared."""

import hashlib

import pytest

from tests.cluster import study
from tests.cluster.cluster import CLONE, GIT, WORKERS, Cluster, at_work
from tests.cluster.hosts import DISK, Host, until
from tests.cluster.study import ROUNDS

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("logs")]

LOCK = """
from flows.graph import lock_text
from flows.lottery.memory import LockArtifact
print(lock_text(LockArtifact({!r}).load()))
"""


def check_mlflow(cluster: Cluster, name: str, digests: dict[str, str]) -> None:
    """MLflow has one run for the study and one for each ticket, and hands out the ticket."""
    runs = {run["run_name"]: run for run in cluster.mlflow_runs(name)}
    assert sorted(run["run_name"] for run in cluster.mlflow_runs(name)) == sorted([name, *ROUNDS])
    assert {run["status"] for run in runs.values()} == {"FINISHED"}
    for ticket in ROUNDS:
        file = cluster.mlflow_file(runs[ticket], "ticket.safetensors")
        assert hashlib.sha256(file).hexdigest() == digests[ticket]


def pull(cluster: Cluster, name: str, **changes: object) -> dict[str, str]:
    """A fresh clone with the merged dvc.lock pulls all that the lottery made; returns the tickets' sha256."""
    folder, user = f"{DISK}/pulled-{name}", cluster.user
    user.run("git", "clone", "--quiet", GIT, folder)
    study.change(user.file(f"{folder}/params.yaml"), changes)
    user.file(f"{folder}/dvc.lock").write_text(user.run("python", "-c", LOCK.format(name), folder=CLONE))
    user.run("dvc", "pull", "--quiet", folder=folder)
    assert user.run("dvc", "status", folder=folder) == "Data and pipelines are up to date."
    return study.tickets(user, folder)


def test_two_hosts_make_the_tickets_of_one(cluster: Cluster, workers: list[Host]) -> None:
    plain, lottery = cluster.begin_plain("calm"), cluster.begin_lottery()
    stages = cluster.completed(lottery)
    assert {stage["state_name"] for stage in stages} == {"Completed"}
    trainings = [stage for stage in stages if stage["name"].startswith("round")]
    assert sorted(stage["name"] for stage in trainings) == sorted(f"round {name}" for name in ROUNDS)
    assert {cluster.done(stage)["host"] for stage in trainings} == set(WORKERS)
    digests = plain()
    assert sorted(digests) == sorted(["init", *ROUNDS])
    assert pull(cluster, "calm") == digests
    check_mlflow(cluster, "calm", digests)
    for host in workers:
        until(lambda host=host: not at_work(host), f"an end of {at_work(host)}")  # type: ignore[misc]

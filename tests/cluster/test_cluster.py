"""A study on several machines makes the tickets that one machine makes, whatever is lost on the way.

They share no file system: what the workers get and what they make travels through git, DVC's remote and the servers.
"""

import hashlib
import os
import signal
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from tests.cluster import study
from tests.cluster.cluster import CLONE, GIT, WORKERS, Cluster, Run, at_work, training, workers
from tests.cluster.hosts import DISK, Host, until
from tests.cluster.study import ROUNDS

pytestmark = pytest.mark.cluster

LOST = (
    "Crashed",
    "its machine gave no sign of life any more",
)  # says what `register` makes to watch over machines
FIRST, BOTH = ("round@global-r1", "round@layerwise-r1"), ("round@global-r2", "round@layerwise-r2")
LOCK = """
from flows.locks import lock_text
from flows.orchestration.lock_store import LockArtifact
print(lock_text(LockArtifact({!r}).load()))
"""


class Lottery:
    """A lottery of a study of its own, and `dvc repro` of the same beside it, with no server."""

    def __init__(self, cluster: Cluster, *targets: str, **changes: Any) -> None:
        self.cluster, self._targets, self._changes = cluster, targets, changes
        self._study = changes.get("study", study.PARAMS["study"])
        self._plain = cluster.begin_plain(self._study, *targets, **changes)
        self._run = cluster.begin_lottery(*targets, **changes)

    def in_the_middle(self, hosts: list[Host]) -> tuple[Host, str]:
        """Wait until a host is in the middle of a pruned round; returns both."""
        return until(partial(training, hosts), "a training", 0.1)

    def attempts(self, name: str) -> list[Run]:
        """The runs of a round so far."""
        return [run for run in self.cluster.stages(self._run) if run["name"] == f"round {name}"]

    def check(self) -> list[Run]:
        """It ends well, everywhere are the tickets of `dvc repro`; returns the runs of its stages."""
        stages = self.cluster.completed(self._run)
        digests = self._plain()
        assert self._pulled() == digests
        runs = {run["run_name"]: run for run in self.cluster.mlflow_runs(self._study)}
        names = sorted(run["run_name"] for run in self.cluster.mlflow_runs(self._study))
        assert names == sorted([self._study, *(digests.keys() - {"init"})])
        assert {run["status"] for run in runs.values()} == {"FINISHED"}
        for name in digests.keys() - {"init"}:
            file = self.cluster.mlflow_file(runs[name], "ticket.safetensors")
            assert hashlib.sha256(file).hexdigest() == digests[name]
        return stages

    def _pulled(self) -> dict[str, str]:
        """sha256 of the tickets that a fresh clone pulls with the merged dvc.lock."""
        folder, user = f"{DISK}/pulled-{self._study}", self.cluster.user
        user.run("git", "clone", "--quiet", GIT, folder)
        study.change(user.file(f"{folder}/params.yaml"), self._changes)
        lock = user.run("python", "-c", LOCK.format(self._study), folder=CLONE)
        user.file(f"{folder}/dvc.lock").write_text(lock)
        targets = ("--with-deps", *self._targets) if self._targets else ()
        user.run("dvc", "pull", *targets, folder=folder)
        assert user.run("dvc", "status", *targets, folder=folder) == "Data and pipelines are up to date."
        return study.tickets(user, folder)


def ends_alone(host: Host) -> None:
    """Nothing is left on a host but its workers."""
    until(lambda: not at_work(host), f"an end of {at_work(host)}")


def moment(run: Run) -> datetime:
    """When a run began."""
    return datetime.fromisoformat(run["start_time"])


def test_two_hosts_make_the_tickets_of_one(cluster: Cluster, hosts: list[Host]) -> None:
    stages = Lottery(cluster).check()
    assert {stage["state_name"] for stage in stages} == {"Completed"}
    trainings = [stage for stage in stages if stage["name"].startswith("round")]
    assert sorted(stage["name"] for stage in trainings) == sorted(f"round {name}" for name in ROUNDS)
    assert {cluster.done(stage)["host"] for stage in trainings} == set(WORKERS)
    for host in hosts:
        ends_alone(host)


def test_a_host_that_dies_is_made_up_for(cluster: Cluster, hosts: list[Host]) -> None:
    lottery = Lottery(cluster, *BOTH, **{"study": "dead-host", "train.seed": 2})
    host, name = lottery.in_the_middle(hosts)
    host.kill()
    died = datetime.now(UTC)
    stages = lottery.check()
    lost, again = lottery.attempts(name)
    assert LOST in cluster.states(lost)
    assert moment(again) > died
    assert cluster.done(again)["host"] != host.name
    assert {stage["state_name"] for stage in stages if stage != lost} == {"Completed"}
    ends_alone(next(other for other in hosts if other is not host))


def test_a_killed_worker_takes_its_training_along(cluster: Cluster, hosts: list[Host]) -> None:
    lottery = Lottery(cluster, *FIRST, **{"study": "killed-worker", "train.seed": 3})
    host, name = lottery.in_the_middle(hosts)
    for process in workers(host, "gpu"):
        os.kill(process, signal.SIGKILL)
    ends_alone(host)
    ended = datetime.now(UTC)
    lottery.check()
    lost, again = lottery.attempts(name)
    assert lost["state_name"] == "Crashed"
    assert moment(again) > ended
    assert cluster.done(again)["host"] != host.name


def test_a_host_that_is_cut_off_and_comes_back_does_no_harm(cluster: Cluster, hosts: list[Host]) -> None:
    lottery = Lottery(cluster, *FIRST, **{"study": "cut-off", "train.seed": 4})
    host, name = lottery.in_the_middle(hosts)
    cluster.network.cut(host)
    until(lambda: [run for run in lottery.attempts(name)[1:] if run["start_time"]], "another attempt", 2)
    cluster.network.mend(host)
    lottery.check()
    assert LOST in cluster.states(lottery.attempts(name)[0])
    for host in hosts:
        ends_alone(host)

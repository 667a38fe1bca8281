"""Registration with Prefect's server of pools, deployments and the automation for lost machines; workers of a pool.

python -m flows.orchestration.deployments register     once, and after every change here; again is harmless
python -m flows.orchestration.deployments worker POOL  a worker of the pool on this machine
"""

import argparse
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from prefect.automations import Automation, EventTrigger, Posture, ResourceSpecification
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import Flow
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows import login
from flows.orchestration import flow, stage
from flows.orchestration.checkout import git, refuse_commands, refuse_secrets
from flows.orchestration.dispatch import WORKER, retry_on_outage
from flows.orchestration.flow import Placement, Source
from flows.orchestration.heartbeat import (
    HEARTBEAT,
    LOST,
    SILENCE_SECONDS,
    STOPPED,
    give_heartbeats,
    taken,
    working,
)
from flows.orchestration.servers import reached
from flows.tracking import server
from mirl import terminal
from mirl.config import UserError

CONTROL, GPU, CPU = "control", "gpu", "cpu"
POOLS = {
    CONTROL: "lotteries and promotions: they wait for others, and want no GPU",
    GPU: "trainings: one worker for each GPU",
    CPU: "everything else",
}
AT_ONCE = {CONTROL: 20, GPU: 1, CPU: 1}
"""Runs that one worker of a pool takes at once. A lottery waits for its stages, so it must not take their slots."""
POLL_SECONDS = 1
"""Time between two requests of a worker for work."""


def register(source: Source) -> list[str]:
    """Create or update pools, deployments and the automation; returns the deployments' names."""
    with get_client(sync_client=True) as client:
        for pool, about in POOLS.items():
            _pool(client, pool, about)
    plain = source.model_dump()
    deployments = [
        _deployment(
            flow.lottery, pool, CONTROL, {"source": plain, "where": Placement(gpu=pool, cpu=CPU).model_dump()}
        )
        for pool in (GPU, CPU)
    ]
    deployments += [_deployment(stage.stage, pool, pool, {}) for pool in (GPU, CPU)]
    deployments.append(_deployment(flow.promote, CPU, CPU, {"source": plain}))
    for deployment in deployments:
        deployment.apply()
    _watch_over_zombies()
    check_for_lost_runs()
    return [deployment.full_name for deployment in deployments]


def worker(pool: str) -> NoReturn:
    """Become a worker of `pool`: whatever ends this process ends the worker, and the worker ends its stages.

    Raises UserError if PREFECT_API_URL is not set, Prefect's server does not answer, or a server refuses the login.
    """
    root = Path.cwd()
    with reached(root), get_client(sync_client=True) as client:
        client.read_work_pools(limit=1)
    known = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    os.environ.update(login.lacking(root, known))
    server.refuse_strangers(os.environ.get("MLFLOW_TRACKING_URI", ""))
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    command += ["--limit", str(AT_ONCE.get(pool, 1))]
    if pool == CONTROL:  # as after a power cut: nobody may wait for what has died
        with suppress(PrefectHTTPStatusError):  # the worker says it as well
            retry_on_outage(check_for_lost_runs, partial(print, file=sys.stderr), lambda: True)
    seconds = {"PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS)}
    # A shell that begins it with `&` has SIGINT ignored, and a worker ends by it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execve(sys.executable, command, seconds | os.environ | {WORKER: str(os.getpid())})


def check_for_lost_runs() -> None:
    """Give every run a heartbeat, after which the automation marks runs that stay silent, also those that never began.

    The automation may have forgotten these runs: what it knows does not outlive a long outage of its server, nor its
    replacement by a new automation.
    """
    with get_client(sync_client=True) as client:
        give_heartbeats(client, [run.id for run in (*working(client), *taken(client))])


def _pool(client: SyncPrefectClient, name: str, about: str) -> None:
    try:
        client.update_work_pool(name, WorkPoolUpdate(description=about))  # a worker may have made it
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", description=about, base_job_template=template)
        )


def _deployment(run: Flow[..., Any], name: str, pool: str, parameters: dict[str, object]) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        run,
        name=name,
        work_pool_name=pool,
        parameters=parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,  # workers have mirl installed; nothing is fetched
    )


def _watch_over_zombies() -> None:
    """Create the automation of Prefect's guide "detect zombie flows", with our state for work that was stopped."""
    over = ("Completed", "Failed", "Cancelled", "Crashed", STOPPED)
    automation = Automation(
        name="Crash zombie flows",
        description="marks runs as crashed whose machine is gone",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in over)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message=LOST,
                force=False,
            )
        ],
    )
    with suppress(ValueError):  # there is none yet
        there: Any = Automation.read(name=automation.name)
        if (there.trigger, there.actions) == (automation.trigger, automation.actions):
            return  # a new one would forget the machines that fell silent just now
        there.delete()
    made: Any = automation.create()
    assert made.name == automation.name


def main(arguments: list[str] | None = None) -> int:
    terminal.guard()
    parser = argparse.ArgumentParser(
        prog="python -m flows.orchestration.deployments", description=(__doc__ or "").splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    registering = commands.add_parser("register", help="create or update pools and deployments")
    registering.add_argument(
        "--repository", help="what every worker can `git clone` (default: origin, else this folder)"
    )
    registering.add_argument("--revision", default="HEAD", help="branch, tag or commit (default: HEAD)")
    serving = commands.add_parser("worker", help="serve a pool on this machine")
    serving.add_argument("pool", choices=sorted(POOLS), help="; ".join(f"{k}: {v}" for k, v in POOLS.items()))
    wanted = parser.parse_args(arguments)
    try:
        if wanted.command == "worker":
            worker(wanted.pool)
        source = Source(repository=wanted.repository or _origin(Path.cwd()), revision=wanted.revision)
        refuse_commands(source.repository)
        refuse_secrets(source.repository)  # every page of Prefect would show them
        with reached(Path.cwd()):
            for name in register(source):
                print(name)
    except UserError as error:
        return terminal.fail(error)
    print(f"they run {source.repository} at {source.revision}")
    return 0


def _origin(root: Path) -> str:
    try:
        return git(root, "remote", "get-url", "origin")
    except UserError:
        return str(root.resolve())


if __name__ == "__main__":
    sys.exit(main())

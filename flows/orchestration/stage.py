"""Flow that a worker runs for one stage; it imports neither torch nor MLflow, so that it begins at once."""

import os
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed, State

from flows.orchestration import runner
from flows.orchestration.checkout import CloneFolder
from flows.orchestration.dispatch import WORKER, environment, publish, retry_on_outage
from flows.orchestration.heartbeat import Heartbeat
from flows.orchestration.runner import ChildProcessGuard, StageJob
from mirl.config import Stopped, UserError
from mirl.training.parent_process import end_with_parent


@flow(name="stage")
def stage(work: StageJob) -> State[Any]:
    """Do one piece of work on the machine this runs on, and keep its result where lotteries find it."""
    log, guard = get_run_logger().info, ChildProcessGuard()
    heartbeat = Heartbeat(guard.terminate)
    try:
        _end_with_worker()
        need_server()
        with heartbeat:
            done = runner.run(work, CloneFolder.of(), environment(), log, guard)
            retry_on_outage(lambda: publish(work, done), log, lambda: not guard.terminated)
    except Stopped as stopped:
        return heartbeat.stopped(str(stopped))
    except UserError as error:
        return Failed(message=str(error))
    except BaseException:
        _discard_output()
        raise
    return Completed(message=f"{done.seconds:.0f} s on {done.host}")


def _end_with_worker() -> None:
    """Make this process end with its worker; nobody else would end it.

    Raises Stopped if the worker ended while this process began.
    """
    end_with_parent()
    if _is_orphan():
        raise Stopped("the worker that began this is gone")


def _is_orphan() -> bool:
    worker = os.environ.get(WORKER)
    return bool(worker) and os.getppid() != int(worker or 0)


def _discard_output() -> None:
    """Discard stdout and stderr if the worker is gone: nobody reads them.

    Prefect would die of writing there before it tells its server.
    """
    if _is_orphan():
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)


def need_server() -> None:
    """Raise UserError if no MLflow server is named: a worker's clone is no place for numbers and models."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "MLFLOW_TRACKING_URI is not set where this worker runs; set it and start the worker again, or its "
            "numbers and models would be lost with its clone"
        )

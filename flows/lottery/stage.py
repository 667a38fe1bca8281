"""The flow that a worker runs: one stage. It imports neither torch nor MLflow, so that it begins at once."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, Running, State

from flows.lifeline import die_with_parent
from flows.lottery import runner
from flows.lottery.checkout import Home
from flows.lottery.dispatch import STOPPED, WORKER, environment, next_attempt, patiently, publish
from flows.lottery.runner import Leash, Work
from mirl.config import Stopped, UserError

LOOK_SECONDS = 15.0
"""How often a machine asks whether its run still has the work; less than COME_BACK_SECONDS."""


@flow(name="stage")
def stage(work: Work) -> State[Any]:
    """Do one piece of work on the machine this runs on, and keep what came of it where lotteries find it."""
    log = get_run_logger().info
    try:
        _die_with_worker()
        need_server()
        with _leash() as leash:
            done = runner.run(work, Home.of(), environment(), log, leash)
            patiently(lambda: publish(work, done), log, lambda: not leash.pulled)
    except Stopped as stopped:
        return Failed(name=STOPPED, message=str(stopped))
    except UserError as error:
        return Failed(message=str(error))
    except BaseException:
        _speak_to_nobody()
        raise
    return Completed(message=f"{done.seconds:.0f} s on {done.host}")


def _die_with_worker() -> None:
    """Nobody else would end this process. Stopped where the worker died while it began."""
    die_with_parent()
    if _is_orphan():
        raise Stopped("the worker that began this is gone")


def _is_orphan() -> bool:
    worker = os.environ.get(WORKER)
    return bool(worker) and os.getppid() != int(worker or 0)


def _speak_to_nobody() -> None:
    """Where the worker is gone nobody reads what is said here, and Prefect would die of it before it tells its server."""
    if _is_orphan():
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)


@contextmanager
def _leash() -> Iterator[Leash]:
    """A leash that is pulled when another run has this one's work, because its machine was thought lost.

    A server that does not answer is no reason: it costs time, not the work of days. A run that was thought lost, and
    whose work nobody else has yet, says that it lives.
    """
    leash, over, run = Leash(), threading.Event(), UUID(str(flow_run.id))

    def look() -> None:
        while not leash.pulled:
            with suppress(httpx.TransportError, PrefectHTTPStatusError):
                if not _keeps_its_work(run):
                    leash.pull()
            if over.wait(LOOK_SECONDS):
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield leash
    finally:
        over.set()


def _keeps_its_work(run_id: UUID) -> bool:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
        if not run.idempotency_key:
            return True  # no lottery began it, so none gives its work to another
        next_ = FlowRunFilterIdempotencyKey(any_=[next_attempt(run.idempotency_key)])
        others = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(idempotency_key=next_), limit=1, sort=FlowRunSort.START_TIME_DESC
        )
        if not others and run.state is not None and run.state.is_crashed():
            client.set_flow_run_state(run_id, Running(message="its machine lives"))
        return not others


def need_server() -> None:
    """UserError where no MLflow server is named: a worker's clone is no place for numbers and models."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "MLFLOW_TRACKING_URI is not set where this worker runs; set it and start the worker again, or its "
            "numbers and models would be lost with its clone"
        )

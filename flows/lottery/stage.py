"""The flow that a worker runs: one stage. It imports neither torch nor MLflow, so that it begins at once."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from flows.lifeline import die_with_parent
from flows.lottery import runner
from flows.lottery.checkout import Home
from flows.lottery.dispatch import STOPPED, environment, publish
from flows.lottery.runner import Leash, Work
from mirl.config import Stopped, UserError

LOOK_SECONDS = 15.0
"""How often a machine asks whether its run was given up."""


@flow(name="stage")
def stage(work: Work) -> State[Any]:
    """Do one piece of work on the machine this runs on, and keep what came of it where lotteries find it."""
    die_with_parent()  # the worker: nobody else would end this
    try:
        need_server()
        with _leash() as leash:
            done = runner.run(work, Home.of(), environment(), get_run_logger().info, leash)
    except Stopped as stopped:
        return Failed(name=STOPPED, message=str(stopped))
    except UserError as error:
        return Failed(message=str(error))
    publish(work, done)
    return Completed(message=f"{done.seconds:.0f} s on {done.host}")


@contextmanager
def _leash() -> Iterator[Leash]:
    """A leash that is pulled when this run was given up: its machine was thought lost, and another has its work.

    A server that does not answer is no reason: it costs time, not the work of days.
    """
    leash, over, run = Leash(), threading.Event(), UUID(str(flow_run.id))

    def look() -> None:
        while not leash.pulled:
            with suppress(httpx.TransportError, PrefectHTTPStatusError):
                if _was_given_up(run):
                    leash.pull()
            if over.wait(LOOK_SECONDS):
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield leash
    finally:
        over.set()


def _was_given_up(run: UUID) -> bool:
    with get_client(sync_client=True) as client:
        return any(state.is_crashed() for state in client.read_flow_run_states(run))


def need_server() -> None:
    """UserError where no MLflow server is named: a worker's clone is no place for numbers and models."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "MLFLOW_TRACKING_URI is not set where this worker runs; set it and start the worker again, or its "
            "numbers and models would be lost with its clone"
        )

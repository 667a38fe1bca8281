"""Runners for the work of a stage: in this process, or on whichever worker of a pool takes it."""

import itertools
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Cancelling, Crashed, State

from flows.orchestration import runner
from flows.orchestration.artifacts import keep_text, kept_text
from flows.orchestration.checkout import CloneFolder
from flows.orchestration.heartbeat import COME_BACK_SECONDS, HOST, LOST, STOPPED, attempt_key, read_heartbeats
from flows.orchestration.runner import ChildProcessGuard, Log, StageJob, StageResult
from mirl.config import Stopped, UserError

Answer = TypeVar("Answer")

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""Time that a lottery waits for a run before it reports that, and whether any worker serves the pool."""
TELL_SECONDS = 600.0
"""Time after which a lottery reports again that it waits."""
BEGIN_SECONDS = 180.0
"""Time that a worker may need to begin a run it took; after that it is thought lost."""
AWAY_SECONDS = 24 * 3600.0
"""Time that a lottery waits for a server that does not answer."""
WORKER = "MIRL_WORKER_PID"
"""Variable that gives a worker's process id to the processes that the worker begins."""
AWAY_CODES = {408, 429, *range(500, 600)}
"""Answers of a server whose database, or of a proxy whose server, is away."""
ATTEMPTS = 5
"""Number of times that one lottery begins the same work, if it is stopped or its machine is lost."""

INTERRUPTED = threading.Event()
"""Set by Ctrl-C if a lottery runs here. An exception would come at any moment, and be taken for Prefect's."""


class StageRunner(Protocol):
    """Interface for doing pieces of work; the errors are those of `flows.orchestration.runner.run`."""

    def __call__(self, work: StageJob, log: Log) -> StageResult: ...

    def stop(self) -> None:
        """End the work that is under way, and begin no more."""


class LocalRunner:
    """Stage runner in this process, for `jobs` stages at once."""

    def __init__(self, clones: CloneFolder, jobs: int) -> None:
        self._clones, self._slots, self._guard = clones, threading.Semaphore(jobs), ChildProcessGuard()

    def __call__(self, work: StageJob, log: Log) -> StageResult:
        with self._slots:
            return runner.run(work, self._clones, environment(), log, self._guard)

    def stop(self) -> None:
        self._guard.terminate()


class PoolRunner:
    """Stage runner on workers: each piece of work is a run of the deployment `stage/<pool>`, found by the work's key.

    Work that is under way already, for any lottery, is waited for and not begun twice. A run that was stopped
    (code 75), or whose machine was lost, is begun again and resumes from its checkpoint.
    """

    def __init__(self, gpu: str, cpu: str, is_there: Callable[[StageJob, StageResult], bool]) -> None:
        """`is_there` returns True if the results of an earlier run can still be had."""
        self._gpu, self._cpu, self._is_there = gpu, cpu, is_there
        self._mark = f"lottery:{flow_run.id or uuid4()}"
        self._lock, self._begun, self._stopped = threading.Lock(), set[UUID](), False

    def __call__(self, work: StageJob, log: Log) -> StageResult:
        pool, mine = self._gpu if work.node.gpu else self._cpu, 0
        for attempt in itertools.count():  # earlier lotteries may have left some behind
            run = self._begin(work, pool, attempt, log)
            was_over = _is_over(run) or (run.state is not None and run.state.is_cancelling())
            run = self._wait(run, pool, log)
            assert run.state is not None
            if run.state.is_completed():
                done = self._retry_on_outage(lambda: _published(work.key), log)
                if done is not None and (not was_over or self._is_there(work, done)):
                    return done
            elif not was_over and not (run.state.is_cancelled() and self._mark not in run.tags):
                mine += 1
                _refuse_another(run.state, work, mine)
                log(f"{work.node.title}: {run.state_name} after attempt {mine}; it is begun again")
        raise AssertionError("there is always another attempt")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            begun = list(self._begun)
        for run in begun:
            _cancel(run)

    def _begin(self, work: StageJob, pool: str, attempt: int, log: Log) -> FlowRun:
        def begin() -> FlowRun:
            run = run_deployment(
                f"stage/{pool}",
                parameters={"work": work.model_dump(mode="json")},
                flow_run_name=work.node.title,
                idempotency_key=attempt_key(work.key, attempt),
                tags=[self._mark],
                as_subflow=False,  # another lottery may want it as well: ending one must not end it
                timeout=0,
            )
            assert isinstance(run, FlowRun)  # no loop runs here, so it is no coroutine
            return run

        try:
            run = self._retry_on_outage(begin, log)
        except ObjectNotFound:
            raise UserError(f"there is no deployment stage/{pool}; `make deploy` registers it") from None
        if self._mark in run.tags:
            with self._lock:
                self._begun.add(run.id)
        return run

    def _wait(self, run: FlowRun, pool: str, log: Log) -> FlowRun:
        if _is_over(run):
            return run
        mine = self._mark in run.tags
        since, tell_at = time.monotonic(), PATIENCE_SECONDS
        with get_client(sync_client=True) as client:
            while not _is_over(run) or (_is_lost(run) and time.monotonic() - since < COME_BACK_SECONDS):
                if self._stopped and mine:
                    _cancel(run.id)
                time.sleep(POLL_SECONDS)
                before, run = run, self._retry_on_outage(partial(client.read_flow_run, run.id), log)
                if run.state_name != before.state_name:
                    since, tell_at = time.monotonic(), PATIENCE_SECONDS
                waited = time.monotonic() - since
                if waited > tell_at and not _is_over(run):
                    log(
                        f"{run.name} waits for {self._retry_on_outage(partial(_waits_for, client, run, pool, mine), log)}"
                    )
                    tell_at = waited + TELL_SECONDS
                if _begins(run) and waited > BEGIN_SECONDS:
                    self._retry_on_outage(partial(_give_up, client, run.id, pool), log)
        return run

    def _retry_on_outage(self, ask: Callable[[], Answer], log: Log) -> Answer:
        return retry_on_outage(ask, log, lambda: not self._stopped)


def retry_on_outage(ask: Callable[[], Answer], log: Log, may_go_on: Callable[[], bool]) -> Answer:
    """Return Prefect's answer to `ask`, which is repeated while the server, or a database behind it, is away.

    An outage costs time, not the work of days. Raises Stopped if `may_go_on` returns False, or after AWAY_SECONDS.
    """
    told, since = False, time.monotonic()
    while may_go_on():
        try:
            return ask()
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            if isinstance(error, PrefectHTTPStatusError) and error.response.status_code not in AWAY_CODES:
                raise
            if time.monotonic() - since > AWAY_SECONDS:
                raise Stopped("Prefect's server has not answered for a day; run the lottery again") from None
            if not told:
                said = " ".join(str(error).split())[:200] or type(error).__name__
                log(f"Prefect's server does not answer ({said}); waiting for it")
            told = True
            time.sleep(POLL_SECONDS)
    raise Stopped("it was stopped while it waited for Prefect's server")


def publish(work: StageJob, done: StageResult) -> None:
    """Keep the result of `work` where every lottery finds it."""
    keep_text(f"work-{work.key}", done.model_dump_json(indent=1), f"what came of {work.node.title}", "json")


def environment() -> dict[str, str]:
    """Return the variables given to a stage, so that its MLflow run names the run of the flow."""
    return {"MIRL_FLOW_RUN": str(flow_run.id or "")}


def _published(key: str) -> StageResult | None:
    text = kept_text(f"work-{key}")
    return None if text is None else StageResult.model_validate_json(text)


def _cancel(run: UUID) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run, Cancelling())  # of no effect on one that is over
    except (httpx.HTTPError, PrefectHTTPStatusError):
        pass  # its worker ends it when the server is back, or it ends by itself


def _is_over(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()


def _waits(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_scheduled()


def _begins(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_pending()


def _is_lost(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_crashed() and run.state.message == LOST


def _give_up(client: SyncPrefectClient, run: UUID, pool: str) -> None:
    if client.read_work_pool(pool).type != "process":
        return  # a job may wait for a machine as long as it likes
    client.set_flow_run_state(run, Crashed(message="its worker took it and never began"))


def _waits_for(client: SyncPrefectClient, run: FlowRun, pool: str, mine: bool) -> str:
    """Return what an unfinished run is waiting for, in words that follow "waits for"."""
    if _waits(run):
        workers = client.read_workers_for_work_pool(pool, limit=200, offset=0)
        if any(worker.status == WorkerStatus.ONLINE for worker in workers):
            return f"a free worker of the pool {pool}"
        return f"a worker: none serves the pool {pool}; start one: `make worker POOL={pool}`"
    owner = "this lottery" if mine else "another lottery"
    assert run.state is not None
    since = f"{run.start_time or run.state.timestamp:%Y-%m-%d %H:%M} UTC"
    events, now = read_heartbeats(client, run)
    for sign in events:
        if host := sign["resource"].get(HOST):  # not given by a lottery
            ago = (now - datetime.fromisoformat(sign["received"])).total_seconds()
            return (
                f"run {run.id} of {owner} on {host}, {run.state_name} since {since}; "
                f"last sign of life {max(ago, 0):.0f} s ago"
            )
    return f"run {run.id} of {owner}, {run.state_name} since {since}; no sign of life was recorded"


def _refuse_another(state: State | None, work: StageJob, attempts: int) -> None:
    """Raise Stopped if the run was cancelled or all ATTEMPTS are used, UserError if it failed; else return."""
    assert state is not None
    said = state.message or "see the log of its run"
    if state.is_cancelled():
        raise Stopped(f"{work.node.title} was cancelled; run the lottery again to go on")
    if not (state.name == STOPPED or state.is_crashed()):
        raise UserError(f"{work.node.title} failed: {said}")
    if attempts >= ATTEMPTS:
        raise Stopped(
            f"{work.node.title} was stopped or lost {attempts} times; run the lottery again to go on"
        )

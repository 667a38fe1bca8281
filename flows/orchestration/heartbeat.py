"""Heartbeats of runs while they work, and the treatment of runs that are silent.

Prefect's automation (`flows.orchestration.deployments`) judges: a run that gave heartbeats, and then is silent for
SILENCE_SECONDS, is marked as crashed. While its server is away it forgets who gave them, so a run that stays silent is
given a heartbeat by others, and the automation counts anew. Every moment is one of the server's clock, every duration
of this process.
"""

import contextvars
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Failed, Running, State

SILENCE_SECONDS = float(os.environ.get("MIRL_SILENCE_SECONDS", "90"))
"""Silence after which a run is marked as crashed, and its work begun again elsewhere."""
HEARTBEAT_SECONDS = SILENCE_SECONDS / 6
"""Time between two heartbeats; as often a run asks whether it may go on."""
COME_BACK_SECONDS = SILENCE_SECONDS / 2.25
"""Time in which a machine that was thought lost must report back, as after a restart of Prefect's server."""
FORGOTTEN_SECONDS = 1.5 * SILENCE_SECONDS
"""Silence after which the automation would have marked a run that it remembers."""
END_SECONDS = 5.0
"""Longest time that the end of a run waits for a check that is under way."""
LOST = "its machine gave no sign of life any more"
"""Message of the automation on a run that it marks as crashed."""
STOPPED = "Stopped"
"""Name of the state of work that ended with code 75: it goes on where it was when it is begun again."""
HEARTBEAT = "prefect.flow-run.heartbeat"
RESOURCE = "prefect.flow-run."
HOST = "mirl.host"
"""Label of a heartbeat that names the living machine; a heartbeat given by others has none."""
PAGE = 50
"""Largest number of events that Prefect's server tells at once."""
WORKING = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])),
    deployment_id=FlowRunFilterDeploymentId(is_null_=False),
)
AT_ONCE = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: HEARTBEAT_SECONDS}
"""Settings of a check, without retries.

Prefect's client sleeps for up to half a minute between two attempts at a busy server, and a machine that was thought
lost has to report back within COME_BACK_SECONDS.
"""
FLOWS = ("lottery", "promote", "stage")


class Heartbeat:
    """Sign that the run of this process lives, given while the context is entered; calls `end` when the run must end.

    A run must end when it is cancelled, whatever its worker knows of that, when it was deleted or ended by hand, or
    when another run has its work, because its machine was thought lost. A server that does not answer is no reason: an
    outage costs time, not the work of days. With `others` every run that stays silent is given a heartbeat.
    """

    def __init__(self, end: Callable[[], None], others: bool = False) -> None:
        self._end, self._monitor = end, SilenceMonitor() if others else None
        self._over, self._seems_cancelled, self.cancelled = threading.Event(), False, False

    def __enter__(self) -> Self:
        run = UUID(str(flow_run.id))
        in_context = contextvars.copy_context()  # of the settings, which say where the server is
        self._thread = threading.Thread(target=in_context.run, args=(self._go_on, run), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._over.set()
        self._thread.join(END_SECONDS)  # or it might say `Running` of a run that has ended

    def stopped(self, why: str) -> State[Any]:
        """Return the state with which the run ends after `end` was called."""
        return Cancelled(message=why) if self.cancelled else Failed(name=STOPPED, message=why)

    def _go_on(self, run: UUID) -> None:
        with temporary_settings(AT_ONCE):
            ended = False
            while not self._over.is_set():
                # Whatever the server answers: if this thread died, the machine would seem to have died.
                with suppress(Exception), get_client(sync_client=True) as client:
                    if not ended and not self._may_go_on(client, run):
                        ended = True
                        self._end()
                    give_heartbeats(client, [run], {HOST: os.uname().nodename})
                    if self._monitor is not None:
                        self._monitor.check(client)
                self._over.wait(HEARTBEAT_SECONDS)

    def _may_go_on(self, client: SyncPrefectClient, run_id: UUID) -> bool:
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound:
            return False  # nobody could find again what it makes
        assert run.state is not None
        if _was_taken_over(client, run):
            return False
        cancelled = _is_cancelled(run.state)
        if run.state.is_crashed():
            cancelled = any(map(_is_cancelled, client.read_flow_run_states(run_id)))
            if not cancelled and not self._over.is_set():
                client.set_flow_run_state(run_id, Running(message="its machine lives"))
        elif run.state.is_final() and not cancelled:
            return False  # somebody has set its state by hand
        # Its worker ends it at once, unless it has lost sight of the server: only the second check counts.
        self.cancelled, self._seems_cancelled = cancelled and self._seems_cancelled, cancelled
        return not self.cancelled


class SilenceMonitor:
    """Monitor that gives a heartbeat to runs that are silent for FORGOTTEN_SECONDS, counted from its first check.

    A silent run that is being cancelled is marked as cancelled instead: Prefect lets no automation mark it as crashed.
    The heartbeats of others count as well: two monitors of the same runs do not keep a dead one alive.
    """

    def __init__(self) -> None:
        self._heard: dict[str, tuple[str, float]] = {}

    def check(self, client: SyncPrefectClient) -> None:
        events, _ = read_heartbeats(client)
        newest = {event["resource"]["prefect.resource.id"]: event["id"] for event in reversed(events)}
        now, silent, heard_now = time.monotonic(), list[FlowRun](), dict[str, tuple[str, float]]()
        for run in working(client):
            name = f"{RESOURCE}{run.id}"
            before, since = self._heard.get(name, ("", now))
            sign = newest.get(name, before)
            if sign == before and now - since > FORGOTTEN_SECONDS:  # where many work, PAGE may have missed it
                sign = next((event["id"] for event in read_heartbeats(client, run)[0]), before)
            if sign != before:
                since = now
            elif now - since > FORGOTTEN_SECONDS:
                silent.append(run)
                since = now
            heard_now[name] = sign, since
        cancelled = [run.id for run in silent if run.state is not None and run.state.is_cancelling()]
        for dead in cancelled:
            client.set_flow_run_state(dead, Cancelled(message=LOST))
        give_heartbeats(client, [run.id for run in silent if run.id not in cancelled])
        self._heard = heard_now  # only now: what failed is done at the next check


def attempt_key(key: str, number: int) -> str:
    """Return the idempotency key of the run that makes attempt `number`, counted from 0, at the work `key`."""
    return f"{key}-{number}"


def next_attempt(name: str) -> str:
    """Return the idempotency key of the run that takes over when the one with key `name` is given up."""
    key, _, number = name.rpartition("-")
    return attempt_key(key, int(number) + 1)


def working(client: SyncPrefectClient) -> list[FlowRun]:
    """Return the runs of our deployments that should give signs of life."""
    runs, flows = list[FlowRun](), FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    while page := client.read_flow_runs(
        flow_filter=flows, flow_run_filter=WORKING, sort=FlowRunSort.START_TIME_ASC, offset=len(runs)
    ):
        runs += page
    return runs


def taken(client: SyncPrefectClient) -> list[FlowRun]:
    """Return the lotteries and promotions that a worker has taken and that have not begun."""
    waiting = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])))
    names = FlowFilter(name=FlowFilterName(any_=["lottery", "promote"]))
    return client.read_flow_runs(flow_filter=names, flow_run_filter=waiting, sort=FlowRunSort.START_TIME_ASC)


def read_heartbeats(
    client: SyncPrefectClient, run: FlowRun | None = None
) -> tuple[list[dict[str, Any]], datetime]:
    """Return the newest heartbeats (at most PAGE, newest first) of one run or of all; and the server's time."""
    wanted: dict[str, Any] = {"event": {"name": [HEARTBEAT]}, "order": "DESC"}
    if run is not None:
        wanted["resource"] = {"id": [f"{RESOURCE}{run.id}"]}
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": PAGE})
    return list(answer.json()["events"]), _server_time(answer)


def give_heartbeats(
    client: SyncPrefectClient, runs: Sequence[UUID], labels: Mapping[str, str] | None = None
) -> None:
    """Send a heartbeat for each of `runs`: it says that the run lives, or has the automation ask whether it does."""
    now = _server_time(client.request("GET", "/health")).isoformat()
    events = [
        {
            "id": str(uuid4()),
            "occurred": now,
            "event": HEARTBEAT,
            "resource": {"prefect.resource.id": f"{RESOURCE}{run}", **(labels or {})},
        }
        for run in runs
    ]
    if events:
        client.request("POST", "/events", json=events)


def _was_taken_over(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Return whether another run has the work of this one; only a lottery that began the work gives it to another."""
    if not run.idempotency_key:
        return False
    key = FlowRunFilterIdempotencyKey(any_=[next_attempt(run.idempotency_key)])
    return bool(client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key), limit=1))


def _is_cancelled(state: State) -> bool:
    return state.is_cancelling() or state.is_cancelled()


def _server_time(answer: httpx.Response) -> datetime:
    said = answer.headers.get("date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)

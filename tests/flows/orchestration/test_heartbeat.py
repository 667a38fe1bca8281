"""Whom a lottery gives a heartbeat, and when a run ends by itself."""

import contextvars
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Running, State

from flows.orchestration import heartbeat
from flows.orchestration.heartbeat import (
    FORGOTTEN_SECONDS,
    HEARTBEAT_SECONDS,
    SILENCE_SECONDS,
    Heartbeat,
    SilenceMonitor,
)

DEAD, LIVING = uuid4(), uuid4()


class Server:
    """Runs, and the heartbeats that came from them; of time only as much passes as is said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self.events, self.given = 1000.0, list[dict[str, Any]](), list[UUID]()
        monkeypatch.setattr("flows.orchestration.heartbeat.time.monotonic", lambda: self.seconds)
        monkeypatch.setattr(heartbeat, "read_heartbeats", self._heard)
        monkeypatch.setattr(
            heartbeat,
            "working",
            lambda client: [SimpleNamespace(id=run, state=Running()) for run in (DEAD, LIVING)],
        )
        monkeypatch.setattr(heartbeat, "give_heartbeats", self._give)

    def _heard(self, client: SyncPrefectClient, run: Any = None) -> tuple[list[dict[str, Any]], None]:
        name = f"prefect.flow-run.{run.id}" if run else ""
        told = [
            event for event in self.events if not name or event["resource"]["prefect.resource.id"] == name
        ]
        return told[: heartbeat.PAGE], None

    def hear(self, run: UUID) -> None:
        self.events.insert(
            0, {"id": str(uuid4()), "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"}}
        )

    def let_pass(self, seconds: float, *monitors: SilenceMonitor) -> list[float]:
        """All check, every HEARTBEAT_SECONDS; returns when a heartbeat was given to the dead run."""
        given, end = [], self.seconds + seconds
        while self.seconds < end:
            self.seconds += HEARTBEAT_SECONDS
            self.hear(LIVING)
            for monitor in monitors:
                before = len(self.given)
                monitor.check(cast(SyncPrefectClient, None))
                given += [self.seconds] * (len(self.given) - before)
        return given

    def _give(self, client: SyncPrefectClient, runs: list[UUID]) -> None:
        self.given += runs
        for run in runs:
            self.hear(run)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


@pytest.mark.parametrize("was_heard", [True, False])
def test_a_silent_run_is_given_a_heartbeat_from_when_one_began_to_check(
    server: Server, was_heard: bool
) -> None:
    if was_heard:
        server.hear(DEAD)
    begun, monitor = server.seconds, SilenceMonitor()
    (first,) = server.let_pass(FORGOTTEN_SECONDS + 3 * HEARTBEAT_SECONDS, monitor)
    assert FORGOTTEN_SECONDS <= first - begun <= FORGOTTEN_SECONDS + 2 * HEARTBEAT_SECONDS
    assert set(server.given) == {DEAD}


def test_two_that_look_after_the_same_run_do_not_keep_it_alive(server: Server) -> None:
    """The automation marks it only where there is no heartbeat for SILENCE_SECONDS."""
    one, other = SilenceMonitor(), SilenceMonitor()
    times = server.let_pass(SILENCE_SECONDS * 0.7, one) + server.let_pass(10 * SILENCE_SECONDS, one, other)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert len(pauses) >= 3 and min(pauses) > SILENCE_SECONDS


def test_a_run_that_is_not_among_the_newest_events_is_not_heard_again(server: Server) -> None:
    monitor = SilenceMonitor()
    server.hear(DEAD)
    monitor.check(cast(SyncPrefectClient, None))
    for _ in range(heartbeat.PAGE):
        server.hear(LIVING)
    assert len(server.let_pass(FORGOTTEN_SECONDS + HEARTBEAT_SECONDS, monitor)) == 1


class Client:
    """Tells of one run the states given, one at each check."""

    def __init__(self, *states: State[Any] | None, heir: bool = False) -> None:
        self._states, self._heir, self.passed, self.set = list(states), heir, list[State[Any]](), list[str]()

    def read_flow_run(self, run: UUID) -> Any:
        state = self._states.pop(0)
        if state is None:
            raise ObjectNotFound(Exception())
        self.passed.append(state)
        return SimpleNamespace(id=run, state=state, idempotency_key="key-0")

    def read_flow_run_states(self, run: UUID) -> list[State[Any]]:
        return self.passed

    def read_flow_runs(self, **asked: Any) -> list[Any]:
        return ["an heir"] * self._heir

    def set_flow_run_state(self, run: UUID, state: State[Any]) -> None:
        self.set.append(str(state.name))


LOST: State[Any] = Crashed(message=heartbeat.LOST)


@pytest.mark.parametrize(
    ("states", "goes_on", "set_", "end"),
    [
        ([Running(), Running()], [True, True], [], "Stopped"),
        ([Cancelling(), Cancelling()], [True, False], [], "Cancelled"),
        ([Cancelled(), Cancelled()], [True, False], [], "Cancelled"),
        ([Cancelling(), LOST], [True, False], [], "Cancelled"),
        ([LOST, Running()], [True, True], ["Running"], "Stopped"),
        ([Failed()], [False], [], "Stopped"),
        ([Completed()], [False], [], "Stopped"),
        ([None], [False], [], "Stopped"),
    ],
)
def test_a_run_ends_when_nobody_wants_it(
    states: list[State[Any] | None], goes_on: list[bool], set_: list[str], end: str
) -> None:
    client, mine = Client(*states), Heartbeat(lambda: None)
    assert [mine._may_go_on(cast(SyncPrefectClient, client), DEAD) for _ in states] == goes_on
    assert client.set == set_
    assert mine.stopped("why").name == end


def test_a_run_whose_work_another_has_ends_and_does_not_come_back() -> None:
    client = Client(LOST, heir=True)
    assert not Heartbeat(lambda: None)._may_go_on(cast(SyncPrefectClient, client), DEAD)
    assert client.set == []


def test_the_next_attempt_has_the_next_number() -> None:
    assert heartbeat.next_attempt("abc-9") == "abc-10"


class Busy(BaseHTTPRequestHandler):
    """Answers as Prefect's server does while its database is locked."""

    def do_GET(self) -> None:
        self.send_error(503)

    do_POST = do_GET

    def log_message(self, *about: Any) -> None:
        pass


def test_a_look_does_not_outlast_the_time_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's client would try again and again, for a minute."""
    looked, mine = threading.Event(), Heartbeat(lambda: None)
    monkeypatch.setattr(mine, "_over", SimpleNamespace(is_set=looked.is_set, wait=lambda _: looked.set()))
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            look = contextvars.copy_context().run
            threading.Thread(target=look, args=(mine._go_on, DEAD), daemon=True).start()
            assert looked.wait(HEARTBEAT_SECONDS)
        server.shutdown()
    assert 2 * HEARTBEAT_SECONDS < heartbeat.COME_BACK_SECONDS


def test_one_that_lives_is_heard_among_many_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "PAGE", 1)  # the newest event is always of the run that lives
    monitor = SilenceMonitor()
    for _ in range(30):
        server.hear(DEAD)
        assert server.let_pass(HEARTBEAT_SECONDS, monitor) == []
    assert server.let_pass(FORGOTTEN_SECONDS + 2 * HEARTBEAT_SECONDS, monitor)  # when it falls silent


def test_what_could_not_be_sent_is_sent_at_the_next_check(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = SilenceMonitor()
    monitor.check(cast(SyncPrefectClient, None))
    server.seconds += FORGOTTEN_SECONDS + 1
    with monkeypatch.context() as away:
        away.setattr(heartbeat, "give_heartbeats", lambda client, runs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            monitor.check(cast(SyncPrefectClient, None))
    monitor.check(cast(SyncPrefectClient, None))
    assert DEAD in server.given

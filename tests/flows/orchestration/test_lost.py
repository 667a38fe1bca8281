"""What a power cut and an outage of Prefect's server leave behind: real processes, SIGKILL, a server of their own."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from flows.orchestration import results
from flows.orchestration.dispatch import _waits_for
from tests.flows.orchestration.machines import POOLS, Machines, machines, slow_words, state, until

SHORT = 24.0
"""MIRL_SILENCE_SECONDS, a quarter of what it is for users: the other clocks follow."""
FULL_LENGTH = pytest.param(90.0, marks=pytest.mark.cluster)


@pytest.fixture(scope="module", params=[SHORT, FULL_LENGTH])
def silence_seconds(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture(scope="module")
def away(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, silence_seconds: float
) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("machines"), empty_store, silence_seconds) as made:
        yield made


def cancel(run: FlowRun) -> None:
    """As `prefect flow-run cancel` does."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())


def words_of_lottery(root: Path) -> str:
    assert results.bring(root)
    return (root / "made" / "dense" / "word").read_text()


def test_after_a_power_cut_the_next_lottery_finishes(away: Machines, silence_seconds: float) -> None:
    dead = [away.begin_slow(4), away.run("link dense")]
    away.kill()
    if silence_seconds == SHORT:
        away.forget()
    else:
        time.sleep(silence_seconds + 70)
    away.begin_server()
    away.begin_workers()
    away.let_end()
    next_ = away.begin_lottery(4)
    until(lambda: state(next_) in ("Completed", "Failed", "Crashed", "Stopped"), "an end of the next lottery")
    assert state(next_) == "Completed"
    assert [state(run) for run in dead] == ["Crashed", "Crashed"]
    assert slow_words(away.place) == ["begun"]  # the dead one; the work was done once more, and quickly
    noted = [line.split()[0] for line in (away.place / "log").read_text().splitlines()]
    assert noted == ["dense", "dense"]
    assert words_of_lottery(away.root) == "word\ndense\n"


def test_a_run_that_lived_through_an_outage_can_be_cancelled(away: Machines, silence_seconds: float) -> None:
    lottery = away.begin_slow(5)
    training = away.run("link dense")
    away.kill("server")
    if silence_seconds == SHORT:  # its workers are at once as a longer outage makes them: alive, and deaf
        for pool in POOLS:
            away.signal(pool, signal.SIGSTOP)
    else:  # so long that all are thought lost when the server comes back
        time.sleep(120)
    away.begin_server()
    if silence_seconds != SHORT:
        time.sleep(silence_seconds / 2)  # for the automation, and the answers to it
    until(lambda: state(lottery) == state(training) == "Running", "both live on")
    with get_client(sync_client=True) as client:
        said = _waits_for(client, client.read_flow_run(training.id), "gpu", mine=False)
    assert f"run {training.id} of another lottery on {os.uname().nodename}, Running since 20" in said
    assert "last sign of life" in said
    cancel(lottery)
    until(lambda: state(lottery) == state(training) == "Cancelled", "both end as cancelled")
    assert slow_words(away.place) == ["begun", "ended"]  # with its checkpoint
    for pool in POOLS:
        away.signal(pool, signal.SIGCONT)
    until(lambda: not away.engines(), "the workers see it")
    assert (state(lottery), state(training)) == ("Cancelled", "Cancelled")

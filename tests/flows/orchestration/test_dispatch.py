"""What a lottery does while Prefect's server is away: wait, say so once, and take other errors as they are."""

from collections.abc import Callable

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from flows.orchestration import dispatch
from flows.orchestration.dispatch import retry_on_outage
from mirl.config import Stopped


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.0)


def status(code: int) -> PrefectHTTPStatusError:
    request = httpx.Request("GET", "http://prefect/api")
    return PrefectHTTPStatusError("no", request=request, response=httpx.Response(code, request=request))


def asking(*answers: Exception | str) -> tuple[list[str], Callable[[], str]]:
    left, said = list(answers), list[str]()

    def ask() -> str:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return said, ask


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), status(500), status(503)]
)
def test_a_server_that_is_away_is_waited_for_and_that_is_said_once(error: Exception) -> None:
    said, ask = asking(error, error, error, "here")
    assert retry_on_outage(ask, said.append, lambda: True) == "here"
    assert len(said) == 1 and "does not answer" in said[0]


def test_an_error_that_waiting_does_not_mend_is_raised() -> None:
    said, ask = asking(status(422), "never")
    with pytest.raises(PrefectHTTPStatusError):
        retry_on_outage(ask, said.append, lambda: True)
    assert said == []


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "AWAY_SECONDS", -1.0)
    said, ask = asking(httpx.ConnectError("refused"), "never")
    with pytest.raises(Stopped, match="for a day"):
        retry_on_outage(ask, said.append, lambda: True)


def test_who_was_stopped_waits_no_more() -> None:
    said, ask = asking("never")
    with pytest.raises(Stopped, match="was stopped"):
        retry_on_outage(ask, said.append, lambda: False)

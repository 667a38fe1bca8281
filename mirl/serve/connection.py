"""Time limits on connections: uvicorn by itself waits for ever for a request's headers, and for slow readers."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mirl.serve.connection_limit import ConnectionLimit
from mirl.serve.headers import HEADERS
from mirl.serve.strict import StrictConnection

NOT_HTTP = (
    "the request is not HTTP/1.1 as RFC 9112 has it, or its headers are too long; send it with another client"
)

BEHIND_SECONDS = 0.5
"""Seconds to answer a picture after which another request follows early; then the connection is cut."""


class Connection(H11Protocol):
    """Connection of uvicorn within a connection limit, with two time limits of `seconds`.

    One runs while no request is being answered, the other from when a client first stops fetching an answer until that
    answer is sent.
    """

    def __init__(self, *given: Any, connection_limit: ConnectionLimit, seconds: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = StrictConnection()
        self._connection_limit, self._seconds = connection_limit, seconds
        self._asking: asyncio.TimerHandle | None = None
        self._fetching: asyncio.TimerHandle | None = None
        self._answered = False
        """True if the answer that is being fetched is fully written, so that the next one gets its own time limit."""

    @property
    def has_slot(self) -> bool:
        """True if a picture of this connection arrives, waits, is restored or is fetched."""
        busy = self.cycle is not None and not self.cycle.response_complete
        return busy and bool(self.cycle.scope["state"].get("has_slot"))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        self._connection_limit.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._connection_limit.remove(self)
        for clock in (self._asking, self._fetching):
            if clock:
                clock.cancel()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.transport.is_closing():
            self._connection_limit.touch(self)
        if self._asking and self.cycle and not self.cycle.response_complete:
            self._asking.cancel()
            self._asking = None
        if self._more_came():
            self.loop.call_later(BEHIND_SECONDS, self._cut_behind, self.cycle)

    def _more_came(self) -> bool:
        """Return whether more data follows an unanswered request: reading stops then, so a disconnect goes unseen."""
        busy = self.cycle is not None and not self.cycle.response_complete
        ended = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)  # else it is more of the same body
        return busy and ended and bool(self.conn.trailing_data[0])

    def _cut_behind(self, cycle: object) -> None:
        if self.cycle is cycle and self._more_came() and self.has_slot:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request in JSON like all errors, unless another answer has begun; close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": NOT_HTTP}).encode()
            about = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
            }
            answer = h11.Response(
                status_code=400, reason=b"Bad Request", headers=list((HEADERS | about).items())
            )
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if (
            self.cycle and not self.cycle.response_complete
        ):  # a body that is broken: nobody waits for its answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self._wait()

    def on_response_complete(self) -> None:
        self._answered = True
        if not self.flow.write_paused:
            self._fetched()
        # Before uvicorn, which may begin with the next request at once; it may also have closed the connection, which waits
        # for ever until what was written is fetched.
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        if self._asking:
            self._asking.cancel()
        self._asking = self.loop.call_later(self._seconds, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._fetching:  # one clock for the whole answer, however often it stops and goes on
            self._answered = False
            self._fetching = self.loop.call_later(self._seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answered:
            self._fetched()

    def _fetched(self) -> None:
        if self._fetching:
            self._fetching.cancel()
            self._fetching = None

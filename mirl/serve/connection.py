"""Connections that nothing comes of are cut: uvicorn waits for ever for a request's headers, and for slow readers."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def connections(seconds: float) -> type[asyncio.Protocol]:
    """A protocol for uvicorn that gives each connection `seconds` to ask, and the same to take what it is given."""

    class Connection(H11Protocol):
        """Two clocks: one while no request is answered, one from when an answer is first not fetched until it is sent."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._asking: asyncio.TimerHandle | None = None
            self._fetching: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._asking = self.loop.call_later(seconds, transport.abort)

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            for clock in (self._asking, self._fetching):
                if clock:
                    clock.cancel()

        def handle_events(self) -> None:
            super().handle_events()
            if self._asking and self.cycle and not self.cycle.response_complete:
                self._asking.cancel()
                self._asking = None

        def on_response_complete(self) -> None:
            if self._fetching:
                self._fetching.cancel()
                self._fetching = None
            # Before uvicorn, which may begin with the next request at once.
            if not self.transport.is_closing():
                self._asking = self.loop.call_later(seconds, self.transport.abort)
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            if not self._fetching:  # one clock for the whole answer, however often it stops and goes on
                self._fetching = self.loop.call_later(seconds, self.transport.abort)

    return Connection

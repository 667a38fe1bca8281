"""How many connections are open: who has been silent for the longest gives way to who comes."""

import asyncio
import resource
from typing import Protocol

MOST_CONNECTIONS = 1000
"""At most, however many files may be open: each takes some memory."""
FILES = 4096
"""That this process asks the system for, if it may have as many."""
OWN_FILES = 64
"""Of them are no connections."""


class OpenConnection(Protocol):
    """A connection that a limit counts."""

    transport: asyncio.Transport

    @property
    def has_place(self) -> bool:
        """Whether a picture of it arrives, waits, is restored or fetched: it is never cut for another."""


class ConnectionLimit:
    """The open connections, at most `most`; when it is full, a newcomer replaces the one that has been silent longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._closed = False
        self._connections: dict[OpenConnection, None] = {}  # the order is that of their last requests

    def add(self, connection: OpenConnection) -> None:
        """One more is open."""
        self.touch(connection)
        if self._closed:
            connection.transport.abort()
        elif len(self._connections) > self._most:
            silent = next((one for one in self._connections if not one.has_place), connection)
            self.remove(silent)
            silent.transport.abort()

    def touch(self, connection: OpenConnection) -> None:
        """One asks for something."""
        self._connections.pop(connection, None)
        self._connections[connection] = None

    def remove(self, connection: OpenConnection) -> None:
        """One has been closed."""
        self._connections.pop(connection, None)

    def close(self) -> None:
        """Who comes from now on is cut at once."""
        self._closed = True


def most_connections() -> int:
    """How many connections this process can have, after it has asked for files enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    free = FILES if soft == resource.RLIM_INFINITY else soft - OWN_FILES
    return min(MOST_CONNECTIONS, max(free // 2, 1))

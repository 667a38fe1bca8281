"""Limit on open connections; a new connection replaces the one that has been silent longest."""

import asyncio
import resource
from typing import Protocol

MOST_CONNECTIONS = 1000
"""Largest number of connections, however many files may be open: each connection takes some memory."""
FILES = 4096
"""Number of open files that this process asks the system for, if its hard limit allows as many."""
OWN_FILES = 64
"""Number of open files that are not connections."""


class OpenConnection(Protocol):
    """Connection that a limit counts."""

    transport: asyncio.Transport

    @property
    def has_slot(self) -> bool:
        """True if a picture of this connection arrives, waits, is restored or is fetched: it is not cut for another."""


class ConnectionLimit:
    """Set of at most `most` open connections; when full, a new one replaces the one that has been silent longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._closed = False
        self._connections: dict[OpenConnection, None] = {}  # the order is that of their last requests

    def add(self, connection: OpenConnection) -> None:
        """Add a new connection, and cut another one if the limit is exceeded."""
        self.touch(connection)
        if self._closed:
            connection.transport.abort()
        elif len(self._connections) > self._most:
            silent = next((one for one in self._connections if not one.has_slot), connection)
            self.remove(silent)
            silent.transport.abort()

    def touch(self, connection: OpenConnection) -> None:
        """Note that a connection has sent a request."""
        self._connections.pop(connection, None)
        self._connections[connection] = None

    def remove(self, connection: OpenConnection) -> None:
        """Remove a closed connection."""
        self._connections.pop(connection, None)

    def close(self) -> None:
        """Cut every new connection from now on."""
        self._closed = True


def most_connections() -> int:
    """Return how many connections this process can have, after raising its limit on open files to up to FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    free = FILES if soft == resource.RLIM_INFINITY else soft - OWN_FILES
    return min(MOST_CONNECTIONS, max(free // 2, 1))

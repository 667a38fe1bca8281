"""A server from its start to its end."""

import errno
import socket
from typing import Any

import uvicorn

from mirl.config import UserError
from mirl.serve.application import application
from mirl.serve.connection import connections
from mirl.serve.limits import Limits
from mirl.serve.messages import Means
from mirl.serve.workshop import Workshop

MOST_CONNECTIONS = 800
"""A process may usually have 1024 files open; beyond this uvicorn answers 503 by itself."""


def run(means: Means, limits: Limits, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; what has been begun is finished first, within the time limit.

    `port` 0 is a free one. UserError where the address cannot be had or the ticket does not restore.
    """
    with listening(host, port) as listener, Workshop(means) as workshop:
        ticket = workshop.open()
        _say(ticket, listener)
        config = uvicorn.Config(
            application(workshop, ticket, limits),
            http=connections(limits.seconds),
            ws="none",
            lifespan="on",
            log_level="warning",
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=max(1, round(limits.seconds)),
        )
        uvicorn.Server(config).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket at which clients wait until the ticket is loaded; UserError where there is none."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        mending = "choose another --port" if taken else "choose another --host or --port"
        reason = "it is taken" if taken else str(error)
        raise UserError(f"nothing can be served at {host}:{port} ({reason}); {mending}") from None


def _say(ticket: dict[str, Any], listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    density = f"{ticket['density']['prunable']:.1%} of the weights"
    print(f"the ticket {ticket['name']} ({density}) restores at {address}; Ctrl-C stops it", flush=True)

"""A server from its start to its end."""

import errno
import socket
import sys
from functools import partial
from typing import Any

import uvicorn

from mirl.config import UserError
from mirl.serve import log
from mirl.serve.application import application
from mirl.serve.connection import Connection
from mirl.serve.connection_limit import ConnectionLimit, most_connections
from mirl.serve.hosts import Address, Hosts
from mirl.serve.limits import Limits
from mirl.serve.messages import WorkerOptions
from mirl.serve.worker import Worker

BUFFER_BYTES = 2**18
"""Of a connection in the system, for what is sent and what is received."""
BACKLOG = 1024
"""Connections that may wait to be accepted."""


def run(options: WorkerOptions, limits: Limits, address: Address) -> None:
    """Serve until SIGTERM or SIGINT; what has been begun is finished first, within the time limit.

    The port 0 is a free one. UserError where the address cannot be had, the ticket does not restore, or more pictures
    may wait than connections can be had.
    """
    most = most_connections()
    if limits.queue >= most // 2:
        raise UserError(
            f"{limits.queue} pictures may wait, but {most} connections can be open, expected twice as many; "
            "raise `ulimit -n` or lower --queue"
        )
    connection_limit = ConnectionLimit(most)
    with listening(address) as listener, Worker(options) as worker:
        ticket = worker.open()
        hosts = Hosts(address=address, bound=listener.getsockname()[0])
        _say(ticket, listener, hosts)
        config = uvicorn.Config(
            application(worker, ticket, limits, hosts),
            http=partial(Connection, connection_limit=connection_limit, seconds=limits.seconds),  # type: ignore[arg-type]
            ws="none",
            lifespan="on",
            log_level="error",  # a warning is what a client does
            server_header=False,
            proxy_headers=False,
            # Accepted in one turn of the loop; four turns pass before who has come is counted, and who gives way is gone.
            backlog=max(1, most // 5),
            timeout_graceful_shutdown=max(1, round(limits.seconds)),
        )
        log.limit_records()
        _Server(config, connection_limit).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn's, at whose door more may wait than it lets in at a time; and that lets nobody in while it stops."""

    def __init__(self, config: uvicorn.Config, connection_limit: ConnectionLimit) -> None:
        super().__init__(config)
        self._connection_limit = connection_limit

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connection_limit.close()
        await super().shutdown(sockets)


def listening(address: Address) -> socket.socket:
    """A socket at which clients wait until the ticket is loaded; UserError where there is none."""
    host, port = address.host, address.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        for buffer in (
            socket.SO_SNDBUF,
            socket.SO_RCVBUF,
        ):  # of each connection; else the system lets them grow
            listener.setsockopt(socket.SOL_SOCKET, buffer, BUFFER_BYTES)
        return listener
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        mending = "choose another --port" if taken else "choose another --host or --port"
        reason = "it is taken" if taken else str(error)
        raise UserError(f"nothing can be served at {host}:{port} ({reason}); {mending}") from None


def _say(ticket: dict[str, Any], listener: socket.socket, hosts: Hosts) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if not hosts.local:
        print(
            f"mirl: warning: {address} is open to everybody who reaches this machine: nobody is asked who they are, and "
            "nothing is encrypted; put a proxy with both in front, or leave --host out",
            file=sys.stderr,
            flush=True,
        )
    density = f"{ticket['density']['prunable']:.1%} of the weights"
    print(f"the ticket {ticket['name']} ({density}) restores at {address}; Ctrl-C stops it", flush=True)

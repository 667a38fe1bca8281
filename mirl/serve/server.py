"""Server: start, run and shutdown."""

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
"""Size in bytes of a connection's send buffer, and of its receive buffer, in the system."""
BACKLOG = 1024
"""Number of connections that may wait to be accepted."""


def run(options: WorkerOptions, limits: Limits, address: Address) -> None:
    """Serve until SIGTERM or SIGINT; requests in progress are finished first, within the time limit.

    Port 0 chooses a free port. Raises UserError if the address is not available, the ticket cannot restore, or the
    queue is at least half as long as the limit on connections.
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
    """Server of uvicorn with a longer backlog than it accepts at a time, which accepts no connection while it stops."""

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
    """Open a socket at which clients wait until the ticket is loaded. Raises UserError if the address is unusable."""
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

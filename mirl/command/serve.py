"""`mirl serve`: serves the page and the HTTP API."""

from mirl.command.address import ticket_file
from mirl.config import UserError
from mirl.serve.hosts import Address
from mirl.serve.limits import Limits


def run(
    ticket: str, address: Address, threads: int | None, memory: int, limits: Limits, network: str = ""
) -> int:
    """Serve until stopped; return exit code 0. `network` names the user's own network that the ticket may use.

    Raises UserError if the extra `serve` is not installed, or the ticket or the address cannot be used.
    """
    try:
        from mirl.serve import server
        from mirl.serve.messages import WorkerOptions
    except ModuleNotFoundError as error:
        raise UserError(f"a server needs {error.name}; install mirl with its extra `serve`") from None
    options = WorkerOptions(
        ticket=ticket_file(ticket), threads=threads, memory=memory, pixels=limits.pixels, network=network
    )
    server.run(options, limits, address)
    return 0

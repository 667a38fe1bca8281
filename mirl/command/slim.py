"""`mirl slim`: cuts out of a ticket what some of its tasks need, as a ticket of its own."""

from collections.abc import Sequence
from pathlib import Path

from mirl.command.address import ticket_file
from mirl.command.target import check_free
from mirl.tickets import reading, writing
from mirl.tickets.slim import slimmed


def run(address: str, out: Path, tasks: Sequence[str], force: bool) -> int:
    """Write the slimmed ticket; return exit code 0.

    Raises UserError if the ticket cannot be read, does not serve a task, or the file cannot be written.
    """
    check_free(out, force)
    source = ticket_file(address)
    whole = reading.read(source)
    ticket = slimmed(whole, tasks)
    writing.write(ticket, out)
    before, after = source.stat().st_size, out.stat().st_size
    print(
        f"cut {', '.join(tasks)} out of {whole.lineage.name} into {out}: {ticket.mask.kept:,} of "
        f"{whole.mask.kept:,} weights, {before / 1e6:.2f} MB to {after / 1e6:.2f} MB"
    )
    return 0

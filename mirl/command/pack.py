"""`mirl pack`: writes a ticket with its weights in 16 or 8 bits."""

from pathlib import Path

from mirl.command.address import ticket_file
from mirl.command.target import check_free
from mirl.tickets import reading, writing
from mirl.tickets.pack import packed
from mirl.tickets.values import ValueKind


def run(address: str, out: Path, kind: ValueKind, force: bool) -> int:
    """Write the packed ticket; return exit code 0.

    Raises UserError if the ticket cannot be read or packed, or the file cannot be written.
    """
    check_free(out, force)
    source = ticket_file(address)
    ticket = packed(reading.read(source), kind)
    writing.write(ticket, out)
    before, after = source.stat().st_size, out.stat().st_size
    print(
        f"packed {ticket.lineage.name} with {kind} values into {out}: {before / 1e6:.2f} MB to {after / 1e6:.2f} MB"
    )
    return 0

"""`mirl sweep`: curves of the quality of tickets against the strength of the damage."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mirl.command.address import ticket_file
from mirl.config import UserError
from mirl.evaluation.sweep import curves
from mirl.evaluation.sweep_page import heading, page
from mirl.study.params import read_params
from mirl.study.study import Study
from mirl.study.sweep import SweepOptions, sweep_study
from mirl.study.tables import write
from mirl.tickets import reading
from mirl.tickets.ticket import Ticket


def run(params_file: Path, tickets: Sequence[str], options: SweepOptions, out: Path) -> int:
    """Sweep the tickets and write the curves to `out`; return exit code 0.

    Raises UserError if there is nothing to sweep, or `out` cannot be a folder.
    """
    refuse_no_folder(out)
    params = read_params(params_file)
    named = by_name([reading.read(ticket_file(address)) for address in tickets])
    swept = sweep_study(Study(root=Path(), params=params), named, options)
    written = write(out, "sweep", swept.frame, page(swept.frame, swept.severities, params.study))
    found = curves(swept.frame)
    for task, severity in swept.severities:
        if own := found.get((task.name, severity.name)):
            print(f"{heading(task, severity)}, from {own[0].values[0]:g} to {own[0].values[-1]:g}")
            print(*(f"  {curve.ticket} {curve.in_words()}" for curve in own), sep="\n")
    print(f"\nthe curves: {written}")
    return 0


def refuse_no_folder(out: Path) -> None:
    """Raise UserError if `out` cannot be a folder."""
    if (out.exists() and not out.is_dir()) or any(parent.is_file() for parent in out.parents):
        raise UserError(f"{out} is no folder; name one for the curves")


def by_name(tickets: Sequence[Ticket]) -> dict[str, Ticket]:
    """Return the tickets by name, each once; tickets that share a name get the first 8 digits of their digests too."""
    once = {ticket.sha256: ticket for ticket in tickets}
    often = Counter(ticket.lineage.name for ticket in once.values())
    return {
        ticket.lineage.name
        if often[ticket.lineage.name] == 1
        else f"{ticket.lineage.name} {sha256[:8]}": ticket
        for sha256, ticket in once.items()
    }

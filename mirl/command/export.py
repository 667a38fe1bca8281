"""`mirl export`: writes a ticket's network for other runtimes, after a check of the export against the ticket.

Dims: B batch, C channels, H height, W width.
"""

from pathlib import Path

import torch

from mirl.command.address import ticket_file
from mirl.command.target import check_free
from mirl.config import UserError
from mirl.files import write_whole
from mirl.restore.any_size import AnySize
from mirl.restore.restorer import Restorer
from mirl.restore.routers import Request, for_whole_images
from mirl.runtime import export
from mirl.runtime.export import Run
from mirl.tickets import reading

TOLERANCE = 1e-4
"""Largest allowed difference from the ticket's output, whose values are in [0, 1]."""


def run(address: str, out: Path, force: bool, request: Request) -> int:
    """Write the export; return exit code 0.

    Raises UserError if the ticket cannot be read, or the export's output differs from the ticket's by more than
    TOLERANCE.
    """
    check_free(out, force)
    kind = export.format_of(out.suffix.lower())
    source = ticket_file(address)
    ticket = reading.read(source)
    mask = for_whole_images(ticket.routing, list(ticket.masks), request)
    restorer = Restorer(ticket.alone(mask), skip_zeros=False)
    multiple = restorer.network.multiple
    network = restorer.network.requires_grad_(False)
    facts = {"mirl.ticket": ticket.lineage.name, "mirl.sha256": ticket.sha256}
    content = kind.write(AnySize(network), export.example(multiple), facts)
    looked_at = sizes(multiple, kind.least(multiple))
    worst = difference(kind.run(content), restorer, looked_at)
    if not worst <= TOLERANCE:
        raise UserError(
            f"{out} would differ from the ticket by {worst:.1e} of 1, more than {TOLERANCE:g}; nothing was written"
        )
    write_whole(out, content)
    told = ", ".join(f"{batch} x {height} x {width}" for batch, height, width in looked_at)
    megabytes, before = len(content) / 1e6, source.stat().st_size / 1e6
    print(f"exported {ticket.lineage.name} to {out}: {megabytes:.2f} MB, the ticket has {before:.2f} MB")
    print(f"it differs from the ticket by {worst:.1e} of 1 at most (batch x height x width: {told})")
    return 0


def sizes(multiple: int, least: int) -> list[tuple[int, int, int]]:
    """Return (batch, height, width) of each image to check: the smallest, with and without padding, wide and high."""
    return [
        (1, least, least),
        (1, 2 * multiple, 2 * multiple),
        (2, 2 * multiple + 1, 4 * multiple - 1),
        (1, 6 * multiple + 3, 2 * multiple),
        (3, least, 3 * multiple + 1),
    ]


def difference(exported: Run, restorer: Restorer, looked_at: list[tuple[int, int, int]]) -> float:
    """Compute the largest difference between an export and the ticket, over random images of these sizes.

    The result is NaN if either of them returns NaN.
    """
    draw = torch.Generator().manual_seed(0)
    found = []
    for batch, height, width in looked_at:
        image_BCHW = torch.rand(batch, 3, height, width, generator=draw)
        wanted_BCHW = restorer.run(image_BCHW).clamp(0, 1)
        got_BCHW = exported(image_BCHW)
        assert got_BCHW.shape == wanted_BCHW.shape, f"{got_BCHW.shape} of {image_BCHW.shape}"
        found.append((got_BCHW - wanted_BCHW).abs().max())
    return float(torch.stack(found).max())

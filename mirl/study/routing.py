"""Routing by difficulty beside its bounds, on the held-out images of a study.

Dims: B batch, C channels, H height, W width; R rows and Q columns of patches; N patches of all test images,
K sub-networks from the least work to the most.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mirl.config import UserError
from mirl.evaluation.protocols import PROTOCOLS, Protocol
from mirl.evaluation.routing import COLUMNS, Grid, Key, Picture, shares
from mirl.evaluation.scoring import TestImage, limited, to_uint8
from mirl.restore.restorer import Restorer
from mirl.study import ticket_folder
from mirl.study.held_out import held_out_images, memory_in_words
from mirl.study.routing_ways import Entrant, Way, pair_of, ways_of
from mirl.study.study import ImageBar, Study
from mirl.tickets.routing import ByDifficulty
from mirl.tickets.ticket import Ticket
from mirl.training.device import device_of

BUDGETS = 4
"""Shares of the work that a router is asked for if nobody names others, evenly between the least and all."""


@dataclass(frozen=True, kw_only=True)
class RoutingOptions:
    """Options of the measurement."""

    works: Sequence[float] = ()
    """Shares of the largest sub-network's work that a router is asked for; empty: BUDGETS of them."""
    limit: int | None = None
    """Images per task; None: `evaluate.limit` of the study."""


@dataclass(frozen=True, kw_only=True)
class Routed:
    """Result of the measurement."""

    frame: pd.DataFrame
    """Table of `mirl.evaluation.routing`, ordered by ticket, way, budget, task and image."""
    pictures: Sequence[Picture]
    """The first images of each task."""
    levels: Mapping[Key, Grid]
    """Those of the patches of every image, in each way."""


def measure_routing(study: Study, tickets: Mapping[str, Ticket], options: RoutingOptions) -> Routed:
    """Restore the study's held-out images by each of `tickets`, keyed by the name to show, in all its ways.

    A ticket with sub-networks that differ in their work restores by each of them alone; one that routes by difficulty also,
    for each budget, by its router and by the bounds of `mirl.evaluation.routing`; any other as it usually does. All of them
    take turns at each image. Raises UserError as `budgets_of`, or if the data is not prepared or has no test images.
    """
    budgets = budgets_of(tickets, options.works)
    section, machine = study.params.evaluate, study.params.machine
    images = limited(held_out_images(study.root), options.limit or section.limit)
    if not images:
        raise UserError(f"{study.files.prepared} has no test images; add a source of the split test")
    protocol, device = PROTOCOLS[section.protocols[0]], str(device_of(machine))
    rows, ways = list[dict[str, object]](), list[Way]()
    with memory_in_words(device):
        for name, ticket in tickets.items():
            restorer = Restorer(ticket, threads=machine.threads, device=device)
            entrant = Entrant(name=name, ticket=ticket, restorer=restorer, largest=_largest(ticket))
            ways += ways_of(entrant, images, budgets[name], protocol, study.should_stop)
        with ImageBar("routing", study.should_stop) as bar:
            for number, item in enumerate(images):
                pair = pair_of(item, protocol)
                for way in ways:
                    rows.append(_row(way, number, item, pair, protocol))
                    bar(len(rows), len(images) * len(ways))
    frame = pd.DataFrame([row for turn in range(len(ways)) for row in rows[turn :: len(ways)]])
    return Routed(
        frame=frame[[*COLUMNS, *(name for name in frame if name not in COLUMNS)]],
        pictures=[
            Picture(image=item.image, task=item.task.name, input_HWC=to_uint8(pair_of(item, protocol)[0]))
            for item in limited(images, section.pictures)
        ],
        levels=dict(_levels(ways, images)),
    )


def budgets_of(tickets: Mapping[str, Ticket], works: Sequence[float]) -> dict[str, list[float]]:
    """Return for each ticket the shares of work that its router is asked for, rising; none if it has no router.

    Raises UserError if no ticket routes by difficulty, a share is not between the work of its least sub-network and all, or
    a ticket has to be told its task or is of another network.
    """
    routings = {
        name: each.routing for name, each in tickets.items() if isinstance(each.routing, ByDifficulty)
    }
    if not routings:
        raise UserError(
            f"none of the tickets {', '.join(tickets)} routes by difficulty; name one of a class_pruning arm whose router "
            "is trained"
        )
    first = next(iter(routings))
    for name, ticket in tickets.items():
        if ticket.routing.told:
            raise UserError(f"the ticket {name} has to be told its task, which a router is not; leave it out")
        if _network(ticket) != _network(tickets[first]):
            raise UserError(
                f"the ticket {name} is of another network than {first}; name tickets of one, as the work is a share of the "
                "dense network's"
            )
    found = {name: list[float]() for name in tickets}
    for name, routing in routings.items():
        least = routing.works[0]
        even = [round(float(work), 3) for work in np.linspace(least, 1, BUDGETS + 2)[1:-1]]
        found[name] = sorted(set(works)) or even
        if odd := [work for work in found[name] if not least < work < 1]:
            raise UserError(
                f"the work is {odd[0]:g}, expected a share between {least:.3g} and 1 of the largest sub-network's of "
                f"{name}; at these ends one sub-network restores all, which is measured anyway"
            )
    return found


def _network(ticket: Ticket) -> tuple[object, ...]:
    return ticket.network.name, ticket.network.options, ticket.network.source


def _largest(ticket: Ticket) -> float:
    counted = ticket_folder.metrics(ticket)
    return counted["macs_g"] / counted["macs_dense_g"]


def _row(
    way: Way, number: int, item: TestImage, pair: tuple[np.ndarray, np.ndarray], protocol: Protocol
) -> dict[str, object]:
    """Restore and measure one image in one way."""
    degraded_HWC, clean_HWC = pair
    start = time.perf_counter()
    output_HWC, work = way.entrant.restored(way.choices[number], degraded_HWC, item.task)
    seconds = time.perf_counter() - start
    measured = protocol.measure(protocol.finish(output_HWC), clean_HWC, item.task.scale)
    levels = way.levels[number]
    return {
        "ticket": way.entrant.name,
        "sha256": way.entrant.ticket.sha256,
        "way": way.way,
        "budget": way.budget,
        "image": item.image,
        "task": item.task.name,
        "protocol": protocol.name,
        "psnr_db": measured.psnr_db,
        "ssim": measured.ssim,
        "work": work,
        "seconds": seconds,
        **(shares(levels.level_RQ.numpy(), way.entrant.masks) if levels else {}),
    }


def _levels(ways: Sequence[Way], images: Sequence[TestImage]) -> Iterator[tuple[Key, Grid]]:
    for way in ways:
        for item, levels in zip(images, way.levels):
            if levels:
                key = Key(way.entrant.name, way.way, way.budget, item.task.name, item.image)
                yield key, Grid(levels.level_RQ.numpy(), levels.patch)

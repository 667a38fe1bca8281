"""What chooses the sub-network, and restorers of several."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mirl.config import UserError
from mirl.restore.restorer import Restorer
from mirl.restore.routers import ROUTERS, EachPatch, OneMask, Request, chosen, for_whole_images
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets.routing import ROUTINGS, ByDifficulty, ByTask, ByWork, Static
from mirl.tickets.ticket import Ticket

IMAGE_HWC = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
TILES = 66 * 2**20
"""Memory in which that image is restored in tiles."""


@pytest.fixture(scope="module")
def of_two(make_ticket: Any) -> Ticket:
    """A ticket with a sub-network of its own for each of two tasks, and weights that both use."""
    whole = make_ticket("nafnet")
    draw = torch.Generator().manual_seed(4)
    masks = Masks(
        {
            name: Mask(
                {key: torch.rand(keep.shape, generator=draw) < 0.7 for key, keep in whole.mask.items()}
            )
            for name in ("light", "heavy")
        }
    )
    routing = ByTask(kind="task", tasks={"denoise_25": "light", "derain": "heavy", "dehaze": "heavy"})
    return replace(whole, state=masks.union.apply(whole.state), masks=masks, routing=routing)


def _alone(ticket: Ticket, mask: str) -> Ticket:
    """The sub-network of a mask as a ticket with nothing else in it."""
    own = ticket.masks[mask]
    return replace(ticket, state=own.apply(ticket.state), masks=Masks.one(own), routing=Static())


def test_every_routing_has_a_router() -> None:
    assert ROUTERS.keys() == ROUTINGS.keys()


def test_a_routing_of_very_many_tasks_is_told_in_one_sentence() -> None:
    routing = ByTask(kind="task", tasks={f"task-{number}": "one" for number in range(20_000)})
    for task in ("", "x" * 10_000):
        with pytest.raises(UserError, match="task-0, task-1, .*, task-11 and 19988 more$") as raised:
            chosen(routing, ["one"], Request(task=task))
        assert len(str(raised.value)) < 300


def test_the_only_sub_network_restores_whatever_is_asked_for() -> None:
    for request in (Request(), Request(task="derain", work=0.5)):
        assert chosen(Static(), ["one"], request) == OneMask("one")


def test_a_routing_by_task_has_to_be_told_one_of_its_tasks(of_two: Ticket) -> None:
    assert chosen(of_two.routing, list(of_two.masks), Request(task="dehaze")) == OneMask("heavy")
    with pytest.raises(
        UserError, match="has to be told what to undo; name a task: denoise_25, derain, dehaze"
    ):
        chosen(of_two.routing, list(of_two.masks), Request())
    with pytest.raises(UserError, match="does not undo 'jpeg'; its tasks are denoise_25, derain, dehaze"):
        chosen(of_two.routing, list(of_two.masks), Request(task="jpeg"))


LEVELS = {"easy": 0.25, "hard": 1.0, "medium": 0.5}
POINTS = [
    {"price": 3.0, "work": 0.25, "shares": [1.0, 0.0, 0.0]},
    {"price": 1.0, "work": 1.0, "shares": [0.0, 0.0, 1.0]},
]
DIFFICULTY = ByDifficulty.read(
    {"kind": "difficulty", "levels": LEVELS, "patch": 64, "curve": POINTS, "work": 0.625}, "a ticket"
)


@pytest.mark.parametrize(
    ("work", "mask"), [(None, "hard"), (1.0, "hard"), (0.99, "medium"), (0.5, "medium"), (0.2499, "easy")]
)
def test_a_routing_by_work_takes_the_largest_that_fits(work: float | None, mask: str) -> None:
    request = Request(work=work)
    assert chosen(ByWork(kind="work", levels=LEVELS), list(LEVELS), request) == OneMask(mask)
    assert for_whole_images(DIFFICULTY, list(LEVELS), request) == mask


@pytest.mark.parametrize("routing", [ByWork(kind="work", levels=LEVELS), DIFFICULTY])
def test_less_work_than_the_least_is_refused(routing: Any) -> None:
    with pytest.raises(
        UserError, match="the work is 0.2, expected a share from 0.25 to 1 of what this ticket's"
    ):
        chosen(routing, list(LEVELS), Request(work=0.2))


@pytest.mark.parametrize(("work", "price"), [(None, 2.0), (0.4375, 2.5), (0.8125, 1.5)])
def test_a_routing_by_difficulty_has_a_price_for_the_work(work: float | None, price: float) -> None:
    assert chosen(DIFFICULTY, list(LEVELS), Request(work=work)) == EachPatch(DIFFICULTY, price)


@pytest.mark.parametrize(("work", "mask"), [(0.25, "easy"), (0.2499, "easy"), (1.0, "hard")])
def test_all_work_and_the_least_need_no_router(work: float, mask: str) -> None:
    assert chosen(DIFFICULTY, list(LEVELS), Request(work=work)) == OneMask(mask)


@pytest.mark.parametrize("skip_zeros", [True, False])
def test_each_task_is_restored_by_its_own_sub_network_to_the_last_bit(
    of_two: Ticket, skip_zeros: bool
) -> None:
    several = Restorer(of_two, threads=1, skip_zeros=skip_zeros)
    found = {task: several(IMAGE_HWC, task=task) for task in ("derain", "denoise_25", "dehaze")}
    for task, mask in (("derain", "heavy"), ("denoise_25", "light"), ("dehaze", "heavy")):
        alone = Restorer(_alone(of_two, mask), threads=1, skip_zeros=skip_zeros)
        assert np.array_equal(found[task], alone(IMAGE_HWC))
        image_BCHW = torch.rand(1, 3, 9, 13, generator=torch.Generator().manual_seed(1))
        assert torch.equal(several.run(image_BCHW, task), alone.run(image_BCHW))
    assert not np.array_equal(found["derain"], found["denoise_25"])


def test_what_cannot_be_restored_is_refused_before_anything_is_done(of_two: Ticket) -> None:
    restorer = Restorer(of_two, threads=1, skip_zeros=False)
    for restore in (
        lambda: restorer(IMAGE_HWC),
        lambda: restorer.refuse(""),
        lambda: restorer.run(torch.zeros(1, 3, 8, 8)),
    ):
        with pytest.raises(UserError, match="has to be told"):
            restore()


def test_a_further_sub_network_is_made_when_it_is_needed_and_counts_in_the_memory(of_two: Ticket) -> None:
    restorer = Restorer(of_two, threads=1)
    before = restorer.memory_for(10_000, (200, 200), 1)
    restorer(IMAGE_HWC, task="denoise_25")  # the first, which is there
    assert restorer.memory_for(10_000, (200, 200), 1) == before
    restorer(IMAGE_HWC, task="derain")
    weights = sum(tensor.nbytes for tensor in of_two.state.values())
    assert restorer.memory_for(10_000, (200, 200), 1) >= before + weights


def test_a_sub_network_alone_is_what_its_mask_keeps_and_the_only_one_is_the_model(of_two: Ticket) -> None:
    alone = of_two.alone("light")
    assert alone.mask == of_two.masks["light"] and alone.routing == Static()
    assert all(not alone.state[name][~keep].any() for name, keep in alone.mask.items())
    only = alone.alone("one")
    assert only.mask == alone.mask and only.state is alone.state

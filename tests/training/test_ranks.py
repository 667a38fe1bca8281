"""What processes tell each other; test_launch.py has real ones."""

import pytest
import torch
import torch.distributed as dist

from mirl.training.ranks import DistributedGroup, GroupBroken


@pytest.fixture
def group() -> DistributedGroup:
    return DistributedGroup(rank=0, size=2)


def _weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    convolution = torch.rand(4, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    return [convolution, torch.rand(5, generator=generator), torch.tensor(0.25)]


def test_sums_come_back_in_the_shape_and_memory_order_of_each_tensor(
    monkeypatch: pytest.MonkeyPatch, group: DistributedGroup
) -> None:
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, *_: tensor.mul_(2))
    tensors = _weights()
    group.all_reduce_(tensors)
    for tensor, before in zip(tensors, _weights(), strict=True):
        assert torch.equal(tensor, 2 * before) and tensor.stride() == before.stride()


def test_weights_that_differ_in_one_bit_are_noticed(
    monkeypatch: pytest.MonkeyPatch, group: DistributedGroup
) -> None:
    """The other process has the weights `_weights()`, this one has others."""
    told: list[torch.Tensor] = []
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, operation: told.append(tensor.clone()))
    group.check_same(_weights())
    others = told[0]
    reduce = {dist.ReduceOp.MIN: torch.minimum, dist.ReduceOp.MAX: torch.maximum}
    monkeypatch.setattr(
        dist, "all_reduce", lambda tensor, operation: tensor.copy_(reduce[operation](tensor, others))
    )
    group.check_same(_weights())
    for place in range(3):
        weights = _weights()
        last = (-1,) * weights[place].dim()
        weights[place][last] = torch.nextafter(weights[place][last], torch.tensor(2.0))
        with pytest.raises(AssertionError, match="different weights"):
            group.check_same(weights)


def test_a_process_that_does_not_answer_is_no_error_of_this_one(
    monkeypatch: pytest.MonkeyPatch, group: DistributedGroup
) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", gone)
    for ask in (
        lambda: group.any_true(False),
        lambda: group.all_reduce_(_weights()),
        lambda: group.check_same(_weights()),
    ):
        with pytest.raises(GroupBroken):
            ask()


@pytest.mark.parametrize(("other", "mine", "agreed"), [(0, False, False), (1, False, True), (0, True, True)])
def test_one_that_says_so_is_enough(
    monkeypatch: pytest.MonkeyPatch, group: DistributedGroup, other: int, mine: bool, agreed: bool
) -> None:
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, _: tensor.clamp_(min=other))
    assert group.any_true(mine) == agreed

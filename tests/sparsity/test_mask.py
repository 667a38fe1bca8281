import pytest
import torch

from mirl.sparsity.mask import Mask

KEEP = {"b": torch.tensor([True, False]), "a": torch.tensor([[True, True], [False, True]])}


def test_counts_and_densities() -> None:
    mask = Mask(KEEP)
    assert list(mask) == ["a", "b"]
    assert (mask.kept, mask.total) == (4, 6)
    assert mask.density == 4 / 6
    assert mask.layer_kept() == {"a": 3, "b": 1}
    assert mask.layer_density() == {"a": 0.75, "b": 0.5}


def test_apply_zeroes_what_is_dropped_and_copies_the_rest() -> None:
    state = {
        "a": torch.tensor([[1.0, 2.0], [-3.0, 4.0]]),
        "b": torch.tensor([5.0, -6.0]),
        "bias": torch.ones(1),
    }
    applied = Mask(KEEP).apply(state)
    assert applied["a"].tolist() == [[1, 2], [0, 4]]
    assert applied["b"].tolist() == [5, 0]
    assert not torch.signbit(applied["b"]).any()
    for tensor in applied.values():
        tensor.fill_(9)
    assert state["bias"].item() == 1 and state["a"][0, 0].item() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_apply_changes_no_bit_of_what_is_kept(dtype: torch.dtype) -> None:
    values = torch.tensor([-0.0, -1.5, torch.inf, torch.nan, -0.0, -1.5, torch.inf, torch.nan], dtype=dtype)
    keep = torch.tensor([True] * 4 + [False] * 4)
    applied = Mask({"a": keep}).apply({"a": values})["a"]
    assert applied.dtype == dtype
    assert torch.equal(
        applied.view(torch.uint8)[: applied.nbytes // 2], values.view(torch.uint8)[: applied.nbytes // 2]
    )
    assert not applied.view(torch.uint8)[applied.nbytes // 2 :].any()


def test_apply_keeps_the_memory_order() -> None:
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    keep = torch.arange(120).view(2, 3, 4, 5) % 3 > 0
    applied = Mask({"a": keep}).apply({"a": last})["a"]
    assert applied.is_contiguous(memory_format=torch.channels_last) and torch.equal(applied, last * keep)


def test_apply_refuses_a_state_it_does_not_fit() -> None:
    with pytest.raises(KeyError, match="b"):
        Mask(KEEP).apply({"a": torch.ones(2, 2)})
    with pytest.raises(AssertionError, match="its mask"):
        Mask({"a": torch.tensor([True])}).apply({"a": torch.ones(2, 2)})  # would broadcast


def test_owns_its_tensors() -> None:
    given = torch.tensor([True, True])
    mask = Mask({"a": given})
    given[0] = False
    assert mask.kept == 2


def test_equality_is_by_name_and_element() -> None:
    assert Mask(KEEP) == Mask(dict(KEEP))
    assert Mask(KEEP) != Mask({**KEEP, "b": torch.tensor([False, True])})
    assert Mask(KEEP) != Mask({"a": KEEP["a"]})
    assert Mask(KEEP) != "a"


def test_takes_bool_only() -> None:
    with pytest.raises(TypeError, match=r"float32, expected torch\.bool"):
        Mask({"a": torch.ones(2)})


def test_full_keeps_everything() -> None:
    assert Mask.full({"a": torch.zeros(3, 2)}).density == 1
    assert Mask({}).density == 1

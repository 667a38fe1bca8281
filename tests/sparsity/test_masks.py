"""Several masks over one set of weights."""

import pickle

import pytest
import torch

from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks


def _mask(*kept: int) -> Mask:
    return Mask({"a": torch.tensor(kept, dtype=torch.bool)})


def test_one_mask_is_its_own_union() -> None:
    mask = _mask(1, 0, 1)
    masks = Masks.one(mask)
    assert list(masks.values()) == [mask] and masks.union is mask and masks.nested


def test_the_union_keeps_what_any_mask_keeps() -> None:
    masks = Masks({"x2": _mask(1, 0, 0), "x3": _mask(0, 0, 1)})
    assert masks.union == _mask(1, 0, 1) and not masks.nested


def test_masks_are_nested_where_each_keeps_all_that_the_one_before_keeps() -> None:
    easy, medium, hard = _mask(1, 0, 0), _mask(1, 1, 0), _mask(1, 1, 1)
    assert Masks({"easy": easy, "medium": medium, "hard": hard}).nested
    assert not Masks({"hard": hard, "medium": medium, "easy": easy}).nested


def test_names_and_their_order_are_a_part_of_the_value() -> None:
    one, other = _mask(1, 0), _mask(1, 1)
    masks = Masks({"easy": one, "hard": other})
    assert masks == Masks({"easy": one, "hard": other}) == pickle.loads(pickle.dumps(masks))
    assert masks != Masks({"hard": other, "easy": one}) and masks != Masks({"easy": one, "hard": one})
    assert masks != Masks({"easy": one})


def test_no_mask_and_masks_of_other_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Masks({})
    with pytest.raises(ValueError, match="same parameters"):
        Masks({"easy": _mask(1, 0), "hard": _mask(1, 0, 0)})


def test_what_a_mask_keeps_and_none_before_it_is_its_own() -> None:
    masks = Masks({"x2": _mask(1, 0, 1, 0), "x3": _mask(1, 1, 0, 0), "x4": _mask(1, 1, 1, 1)})
    assert masks.own("x2") == masks["x2"]
    assert masks.own("x3") == _mask(0, 1, 0, 0)
    assert masks.own("x4") == _mask(0, 0, 0, 1)

import pytest
import torch

from mirl.config import UserError
from mirl.tickets.values import DTYPES, ValueKind, Values, narrowed, widened

KINDS = list(DTYPES)
WEIGHTS = torch.randn(500, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_rounded_is_not_rounded_again(kind: ValueKind) -> None:
    once = widened(narrowed(WEIGHTS, kind), kind)
    again = narrowed(once, kind)
    assert once.dtype == torch.float32 and again["kept"].dtype == DTYPES[kind]
    assert torch.equal(widened(again, kind), once)


@pytest.mark.parametrize(("kind", "error"), [("fp32", 0.0), ("fp16", 2**-11), ("bf16", 2**-8)])
def test_floats_lose_less_than_half_of_their_last_bit(kind: ValueKind, error: float) -> None:
    lost = (widened(narrowed(WEIGHTS, kind), kind) - WEIGHTS).abs()
    assert bool((lost <= error * WEIGHTS.abs()).all()) and (lost.max() > 0) == (kind != "fp32")


def test_int8_has_127_levels_up_to_the_peak() -> None:
    stored = narrowed(torch.tensor([0.3, -1.27, 0.0, 0.0149, -0.0151]), "int8")
    assert stored["kept"].tolist() == [30, -127, 0, 1, -2] and stored["peak"] == torch.tensor(1.27)
    assert widened(stored, "int8")[1] == torch.tensor(-1.27)


@pytest.mark.parametrize("weights", [torch.zeros(3), torch.zeros(0), torch.tensor([1e-45, -1e-45])])
def test_int8_of_nothing_and_next_to_nothing(weights: torch.Tensor) -> None:
    assert torch.equal(widened(narrowed(weights, "int8"), "int8"), weights)


@pytest.mark.parametrize("values", [{"kind": "bf16"}, {"packed_from": "1" * 64}, {"kind": "fp8"}])
def test_values_say_what_they_were_packed_from(values: dict[str, str]) -> None:
    with pytest.raises(UserError):
        Values.read(values, "a ticket")

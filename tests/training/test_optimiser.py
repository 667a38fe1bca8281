import pytest
import torch
from torch import nn

from mirl.sparsity.mask import Mask
from mirl.training.optimiser import MaskedAdamW, composed

LOSS = torch.tensor(0.5)


@pytest.fixture
def layer() -> nn.Linear:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(12.0).reshape(3, 4) - 5.5)
    return layer


def _masked(layer: nn.Linear) -> Mask:
    keep = torch.tensor([[True, False, True, True], [False, False, True, True], [True, True, True, False]])
    layer.weight.data.masked_fill_(~keep, 0)
    return Mask({"weight": keep})


def _steps(layer: nn.Linear, optimiser: MaskedAdamW, count: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        loss = (layer(torch.randn(8, 4, generator=generator)) - 1).square().mean()
        loss.backward()
        optimiser.step(loss.detach(), 0.05, 1.0)


def test_masked_weights_are_exactly_zero_after_every_step(layer: nn.Linear) -> None:
    mask = _masked(layer)
    optimiser = MaskedAdamW(dict(layer.named_parameters()), mask, {}, weight_decay=0.1)
    for seed in range(5):
        _steps(layer, optimiser, 1, seed)
        assert (layer.weight.detach()[~mask["weight"]] == 0).all()
    optimiser.check()
    assert (layer.weight.detach()[mask["weight"]] != 0).all()


def test_frozen_elements_of_any_parameter_stay_exactly_though_weight_decay_pulls(layer: nn.Linear) -> None:
    frozen = {"weight": torch.zeros(3, 4, dtype=torch.bool), "bias": torch.tensor([True, False, True])}
    frozen["weight"][0] = True
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimiser = MaskedAdamW(dict(layer.named_parameters()), Mask({}), frozen, weight_decay=0.5)
    _steps(layer, optimiser, 4)
    for name, where in frozen.items():
        after = layer.get_parameter(name).detach()
        assert torch.equal(after[where], before[name][where])
        assert (after[~where] != before[name][~where]).all()
    optimiser.check()


def test_frozen_buffers_are_put_back_after_each_step(layer: nn.Linear) -> None:
    norm = nn.BatchNorm1d(3)
    network = nn.Sequential(layer, norm)
    frozen = {
        "1.running_mean": torch.tensor([True, True, False]),
        "1.num_batches_tracked": torch.tensor(True),
    }
    optimiser = MaskedAdamW(
        dict(network.named_parameters()),
        Mask({}),
        frozen,
        weight_decay=0.1,
        buffers=dict(network.named_buffers()),
    )
    network(torch.arange(8.0).reshape(2, 4)).sum().backward()
    optimiser.step(LOSS, 0.05, 1.0)
    assert norm.running_mean is not None and norm.num_batches_tracked is not None
    assert norm.running_mean.ne(0).tolist() == [False, False, True]
    assert int(norm.num_batches_tracked) == 0
    optimiser.check()


def test_masked_elements_do_not_count_in_the_clipping_norm(layer: nn.Linear) -> None:
    mask = Mask({"weight": torch.zeros(3, 4, dtype=torch.bool)})
    optimiser = MaskedAdamW(dict(layer.named_parameters()), mask, {}, weight_decay=0.0)
    layer.weight.grad, layer.bias.grad = torch.full((3, 4), 1e6), torch.tensor([3.0, 0.0, 4.0])
    assert float(optimiser.step(LOSS, 0.01, 1.0)) == pytest.approx(5.0)


@pytest.mark.parametrize(("loss", "gradient"), [(1.0, torch.nan), (1.0, torch.inf), (torch.nan, 1.0)])
def test_what_is_not_finite_changes_nothing_then_or_later(
    layer: nn.Linear, loss: float, gradient: float
) -> None:
    optimiser = MaskedAdamW(dict(layer.named_parameters()), Mask({}), {}, weight_decay=0.1)
    _steps(layer, optimiser, 2)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    moments = {name: moment.clone() for name, moment in optimiser.moments().items()}
    layer.weight.grad, layer.bias.grad = torch.full((3, 4), gradient), torch.zeros(3)
    optimiser.step(torch.tensor(loss), 0.1, 1.0)
    _steps(layer, optimiser, 2)
    assert all(torch.equal(p.detach(), before[name]) for name, p in layer.named_parameters())
    assert all(torch.equal(moment, moments[name]) for name, moment in optimiser.moments().items())


def test_check_finds_a_masked_weight_that_is_not_zero(layer: nn.Linear) -> None:
    mask = _masked(layer)
    optimiser = MaskedAdamW(dict(layer.named_parameters()), mask, {}, weight_decay=0.0)
    layer.weight.data[0, 1] = 1e-30
    with pytest.raises(AssertionError, match="not zero"):
        optimiser.check()


def test_restored_moments_continue_to_the_same_bytes(layer: nn.Linear) -> None:
    start = {name: p.detach().clone() for name, p in layer.named_parameters()}
    whole = MaskedAdamW(dict(layer.named_parameters()), Mask({}), {}, weight_decay=0.1)
    _steps(layer, whole, 3, seed=1)
    middle = {name: p.detach().clone() for name, p in layer.named_parameters()}
    moments = {name: moment.clone() for name, moment in whole.moments().items()}
    _steps(layer, whole, 3, seed=2)
    expected = layer.weight.detach().clone()

    layer.load_state_dict(middle)
    resumed = MaskedAdamW(dict(layer.named_parameters()), Mask({}), {}, weight_decay=0.1)
    resumed.restore(moments, 3)
    _steps(layer, resumed, 3, seed=2)
    assert torch.equal(layer.weight.detach(), expected)
    assert not torch.equal(expected, start["weight"])


def _by_hand(layer: nn.Linear, count: int, held_after: int) -> torch.Tensor:
    """The weight after so many steps of `_steps`, by the formulas of AdamW in float64."""
    weight, bias = (p.detach().double().requires_grad_() for p in (layer.weight, layer.bias))
    state = [(torch.zeros_like(p), torch.zeros_like(p)) for p in (weight, bias)]
    generator = torch.Generator().manual_seed(0)
    for step in range(1, count + 1):
        loss = (torch.randn(8, 4, generator=generator).double() @ weight.T + bias - 1).square().mean()
        gradients = torch.autograd.grad(loss, (weight, bias))
        scale = min(1.0, 1 / (float(sum(g.square().sum() for g in gradients)) ** 0.5 + 1e-6))
        with torch.no_grad():
            for place, (p, gradient) in enumerate(zip((weight, bias), gradients)):
                first = 0.9 * state[place][0] + 0.1 * scale * gradient
                second = 0.999 * state[place][1] + 0.001 * (scale * gradient) ** 2
                second = second if step <= held_after else state[place][1]
                state[place] = first, second
                root = (second / (1 - 0.999 ** min(step, held_after))).sqrt() + 1e-8
                change = first / (1 - 0.9**step) / root
                change = change.clamp(-1, 1) if step > held_after else change
                p.copy_(p * (1 - 0.05 * 0.1) - 0.05 * change)
    return weight.detach()


@pytest.mark.parametrize("held_after", [3, 100])
def test_second_moments_are_held_after_a_warm_up_and_steps_go_on(layer: nn.Linear, held_after: int) -> None:
    expected = _by_hand(layer, 8, held_after)
    optimiser = MaskedAdamW(dict(layer.named_parameters()), Mask({}), {}, weight_decay=0.1)
    optimiser.hold_moments(after=held_after)
    _steps(layer, optimiser, 8)
    assert torch.allclose(layer.weight.detach().double(), expected, atol=1e-5)


def test_held_moments_are_those_of_the_warm_up_also_after_a_stop(layer: nn.Linear) -> None:
    def optimiser() -> MaskedAdamW:
        made = MaskedAdamW(dict(layer.named_parameters()), Mask({}), {}, weight_decay=0.1)
        made.hold_moments(after=2)
        return made

    whole = optimiser()
    _steps(layer, whole, 2, seed=1)
    warm = {name: moment.clone() for name, moment in whole.moments().items()}
    _steps(layer, whole, 1, seed=2)
    stopped = {name: p.detach().clone() for name, p in layer.named_parameters()}
    moments = {name: moment.clone() for name, moment in whole.moments().items()}
    for name, moment in moments.items():
        assert torch.equal(moment, warm[name]) == name.startswith("second."), name
    _steps(layer, whole, 2, seed=3)
    expected = layer.weight.detach().clone()
    layer.load_state_dict(stopped)
    resumed = optimiser()
    resumed.restore(moments, 3)
    _steps(layer, resumed, 2, seed=3)
    assert torch.equal(layer.weight.detach(), expected)


def test_held_moments_move_no_element_by_more_than_the_learning_rate(layer: nn.Linear) -> None:
    optimiser = MaskedAdamW(dict(layer.named_parameters()), Mask({}), {}, weight_decay=0.0)
    optimiser.hold_moments(after=1)
    for size in (1e-9, 1.0):
        before = layer.weight.detach().clone()
        layer.weight.grad, layer.bias.grad = torch.full((3, 4), size), torch.ones(3)
        optimiser.step(LOSS, 0.05, 1e9)
        assert (layer.weight.detach() - before).abs().max() <= 0.05 + 1e-6


def test_what_is_not_finite_changes_nothing_while_moments_are_held(layer: nn.Linear) -> None:
    optimiser = MaskedAdamW(dict(layer.named_parameters()), Mask({}), {}, weight_decay=0.1)
    optimiser.hold_moments(after=1)
    _steps(layer, optimiser, 2)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    layer.weight.grad, layer.bias.grad = torch.full((3, 4), torch.nan), torch.zeros(3)
    optimiser.step(LOSS, 0.1, 1.0)
    _steps(layer, optimiser, 1)
    assert all(torch.equal(p.detach(), before[name]) for name, p in layer.named_parameters())
    assert all(bool(moment.isfinite().all()) for moment in optimiser.moments().values())


def test_rates_go_by_the_longest_beginning_of_a_name(layer: nn.Linear) -> None:
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    parameters = dict(layer.named_parameters())
    optimiser = MaskedAdamW(parameters, Mask({}), {}, weight_decay=0.0, rates={"": 0.5, "weight": 0.0})
    _steps(layer, optimiser, 1)
    assert torch.equal(layer.weight.detach(), before["weight"])
    moved = (layer.bias.detach() - before["bias"]).abs()
    plain = torch.nn.Linear(4, 3)
    plain.load_state_dict(before)
    _steps(plain, MaskedAdamW(dict(plain.named_parameters()), Mask({}), {}, weight_decay=0.0), 1)
    assert torch.allclose(moved, (plain.bias.detach() - before["bias"]).abs() / 2)


def test_rates_of_two_sources_are_multiplied_for_every_parameter() -> None:
    found = composed({"tail.": 0.1, "tail.bias": 3.0}, {"": 2.0, "tail.b": 0.5, "router.": 4.0})
    assert found == pytest.approx({"tail.": 0.2, "tail.bias": 1.5, "": 2.0, "tail.b": 0.05, "router.": 4.0})
    assert composed({}, {"tail.": 0.1}) == {"tail.": 0.1} and composed({}, {}) == {}


def test_a_prunable_parameter_without_a_gradient_is_a_mistake_unless_it_is_frozen_whole(
    layer: nn.Linear,
) -> None:
    parameters, mask = dict(layer.named_parameters()), Mask.full({"weight": layer.weight})
    layer.weight.grad, layer.bias.grad = None, torch.ones(3)
    with pytest.raises(AssertionError, match="no gradient"):
        MaskedAdamW(parameters, mask, {}, weight_decay=0.1).step(LOSS, 0.01, 1.0)
    before = layer.weight.detach().clone()
    layer.bias.grad = torch.ones(3)
    frozen = {"weight": torch.ones(3, 4, dtype=torch.bool)}
    MaskedAdamW(parameters, mask, frozen, weight_decay=0.1).step(LOSS, 0.01, 1.0)
    assert torch.equal(layer.weight.detach(), before)

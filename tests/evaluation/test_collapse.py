from collections.abc import Callable

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from mirl.evaluation.collapse import KINDS, cut_paths, findings, lost_layers, unlearned
from mirl.sparsity.mask import Mask


class Net(nn.Module):
    """x + tail(relu(body(x))), with a side branch that the mask can cut by itself."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body, self.side, self.tail = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 4), (3, 4), (4, 3)))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tail(self.body(x) + self.side(x))


NAMES = ("body.weight", "side.weight", "tail.weight")


def ticket(**keep: Callable[[Tensor], Tensor]) -> tuple[Net, Mask]:
    """A network and its mask, already applied; `keep` changes the named layer's mask from all True."""
    net = Net()
    masks = {name: torch.ones_like(net.get_parameter(name), dtype=torch.bool) for name in NAMES}
    masks |= {f"{layer}.weight": change(masks[f"{layer}.weight"]) for layer, change in keep.items()}
    mask = Mask(masks)
    net.load_state_dict(mask.apply(net.state_dict()))
    return net, mask


def only_first(keep: Tensor) -> Tensor:
    keep = torch.zeros_like(keep)
    keep[0, 0, 1, 1] = True
    return keep


PROBE = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_healthy_ticket_has_no_findings(scores: Callable[..., pd.DataFrame]) -> None:
    net, mask = ticket(body=only_first)
    assert findings({"one": (net, mask)}, PROBE, scores(6.0), "paper") == []


def test_each_sub_network_is_looked_at_and_named(scores: Callable[..., pd.DataFrame]) -> None:
    sparse, dense = ticket(side=torch.zeros_like), ticket(body=only_first)
    found = findings({"easy": sparse, "hard": dense}, PROBE, scores(6.0), "paper")
    assert (found[0].kind, found[0].layer) == ("layer gone", "side.weight")
    assert all(finding.detail.startswith("in the sub-network easy, ") for finding in found)
    alone = findings({"easy": sparse}, PROBE, scores(6.0), "paper")
    assert [finding.layer for finding in alone] == [finding.layer for finding in found]
    assert alone[0].detail.startswith("none of its")


def test_a_layer_that_is_gone_is_named() -> None:
    _, mask = ticket(side=torch.zeros_like)
    found = lost_layers(mask)
    assert [(finding.kind, finding.layer) for finding in found] == [("layer gone", "side.weight")]
    assert "108 weights" in found[0].detail


def test_what_leads_into_a_lost_layer_is_cut() -> None:
    net, mask = ticket(tail=torch.zeros_like)
    found = cut_paths(net, mask, PROBE)
    assert {finding.layer for finding in found} == {"body.weight", "side.weight"}
    assert {finding.kind for finding in found} == {"path cut"}


def test_a_path_cut_channel_by_channel_is_seen() -> None:
    def first_channel(keep: Tensor) -> Tensor:  # body writes channel 0 only...
        keep = torch.zeros_like(keep)
        keep[0] = True
        return keep

    def without_first(keep: Tensor) -> Tensor:  # ...which tail does not read
        keep = keep.clone()
        keep[:, 0] = False
        return keep

    net, mask = ticket(body=first_channel, tail=without_first)
    assert [finding.layer for finding in cut_paths(net, mask, PROBE)] == ["body.weight"]


def test_kept_weights_that_are_zero_are_no_cut() -> None:
    net, mask = ticket()
    net.body.weight.data.zero_()
    assert cut_paths(net, mask, PROBE) == []


def test_looking_leaves_no_trace() -> None:
    net, mask = ticket()
    net.train()
    net.body.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        cut_paths(net, mask, PROBE)
    assert net.training and not net.body.weight.requires_grad and net.tail.weight.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("gain_db", "change", "kind"),
    [
        (0.0, 0.0, "identity"),
        (0.3, 0.04, "identity"),
        (0.05, 0.4, "did not learn"),
        (-2.0, 1.5, "did not learn"),
    ],
)
def test_tasks_without_a_gain_are_named(
    scores: Callable[..., pd.DataFrame], gain_db: float, change: float, kind: str
) -> None:
    found = unlearned(scores(gain_db, change=change), "paper")
    assert len(found) == 5
    assert {finding.kind for finding in found} == {kind} <= set(KINDS)


def test_one_bad_task_is_enough(scores: Callable[..., pd.DataFrame]) -> None:
    table = scores(5.0)
    table.loc[table["task"] == "derain", "psnr_db"] = 10.0
    assert [(finding.kind, finding.layer) for finding in unlearned(table, "paper")] == [
        ("did not learn", "derain")
    ]


def test_only_the_named_protocol_counts(scores: Callable[..., pd.DataFrame]) -> None:
    both = pd.concat([scores(5.0), scores(0.0, change=0.0).assign(protocol="strict")])
    assert unlearned(both, "paper") == []
    assert len(unlearned(both, "strict")) == 5

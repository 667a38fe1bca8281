from collections.abc import Callable
from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.training.device import device_of, reproducibly
from mirl.training.section import MachineSection


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes torch say that there are as many."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("there", "wanted", "expected"),
    [
        (0, "auto", "cpu"),
        (2, "auto", "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_the_device_is_what_is_wanted_and_there(
    gpus: Callable[[int], None], there: int, wanted: str, expected: str
) -> None:
    gpus(there)
    assert device_of(MachineSection(device=wanted)) == torch.device(expected)


@pytest.mark.parametrize(
    ("there", "wanted", "sentence"),
    [
        (0, "cuda", "torch sees no GPU; use `auto` or `cpu`"),
        (0, "cuda:1", "torch sees no GPU"),
        (2, "cuda:2", "is cuda:2, but torch sees 2 GPUs, counted from 0; use `cuda:1` or less"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(
    gpus: Callable[[int], None], there: int, wanted: str, sentence: str
) -> None:
    gpus(there)
    with pytest.raises(UserError, match=sentence):
        device_of(MachineSection(device=wanted))


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "CPU"])
def test_a_device_is_a_word_that_is_known(wanted: str) -> None:
    with pytest.raises(UserError, match=f"`device` is '{wanted}'"):
        MachineSection.read({"device": wanted}, "params.yaml")


def test_the_prompts_of_a_network_are_stretched_by_kernels_that_a_gpu_has() -> None:
    """Where determinism is asked for, torch must not choose the kernel that refuses to go backwards on a GPU."""
    with reproducibly(MachineSection(), torch.device("cuda")):
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        plane = torch.empty(1, 2, 4, 4, device="meta", requires_grad=True)
        nodes = [torch.nn.functional.interpolate(plane, (8, 8), mode="bilinear", align_corners=False).grad_fn]
        names: set[str] = set()
        while nodes:
            node = nodes.pop()
            assert node
            names.add(type(node).__name__)
            nodes += [following for following, _ in node.next_functions if following]
    assert names and not any("Upsample" in name for name in names)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_what_torch_is_told_is_put_back(
    monkeypatch: pytest.MonkeyPatch, kind: str, deterministic: bool
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def told() -> tuple[Any, ...]:
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]  # set at run time
        )

    before = told()
    machine = MachineSection(threads=before[0] + 1, deterministic=deterministic)
    with reproducibly(machine, torch.device(kind)):
        exact = deterministic or kind == "cpu"
        assert told() == (before[0] + 1, exact, kind == "cuda", not exact, False)
    assert told() == before

"""Every network as ONNX, which goes through torch.export too; one as PyTorch's own file. It takes a while."""

from typing import Any

import pytest
import torch

from mirl.command.export import TOLERANCE, difference, sizes
from mirl.config import UserError
from mirl.networks import NETWORKS
from mirl.restore.any_size import AnySize
from mirl.restore.restorer import Restorer
from mirl.runtime.export import FORMATS, example, format_of


def exported(restorer: Restorer, ending: str) -> tuple[bytes, list[tuple[int, int, int]]]:
    """The content of a file, and sizes that it is to be looked at with."""
    kind, multiple = FORMATS[ending], restorer.network.multiple
    network = AnySize(restorer.network.requires_grad_(False))
    content = kind.write(network, example(multiple), {"mirl.ticket": "tiny"})
    return content, [*sizes(multiple, kind.least(multiple)), (4, kind.least(multiple), 5 * multiple)]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_as_onnx_takes_pictures_of_any_size(name: str, make_ticket: Any) -> None:
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    import onnx

    restorer = Restorer(make_ticket(name), skip_zeros=False)
    content, looked_at = exported(restorer, ".onnx")
    assert difference(FORMATS[".onnx"].run(content), restorer, looked_at) < 1e-5
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 20  # docs/export.md says so
    for value, times in ((model.graph.input[0], ""), (model.graph.output[0], f"{restorer.scale}*")):
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        times = "" if times == "1*" else times
        assert dims == ["batch", 3, f"{times}height", f"{times}width"]
    assert {prop.key: prop.value for prop in model.metadata_props}["mirl.ticket"] == "tiny"


def test_pytorchs_own_file_takes_what_is_larger_than_one_multiple(make_ticket: Any) -> None:
    restorer = Restorer(make_ticket(), skip_zeros=False)
    content, looked_at = exported(restorer, ".pt2")
    run, multiple = FORMATS[".pt2"].run(content), restorer.network.multiple
    assert difference(run, restorer, looked_at) < 1e-6
    with pytest.raises(AssertionError, match="Guard failed"):
        run(torch.rand(1, 3, multiple, multiple))


def test_what_is_checked_is_five_different_pictures() -> None:
    for multiple, least in ((4, 1), (8, 9)):
        found = sizes(multiple, least)
        assert len(set(found)) == 5 and (1, least, least) in found and max(batch for batch, *_ in found) > 1
        assert {height % multiple == 0 for _, height, _ in found} == {True, False}
        assert any(height != width for _, height, width in found)


def test_a_difference_is_found(make_ticket: Any) -> None:
    restorer = Restorer(make_ticket(), skip_zeros=False)

    def off_by(step: float) -> float:
        return difference(
            lambda image: (restorer.run(image) + step).clamp(0, 1), restorer, [(1, 8, 8), (2, 3, 5)]
        )

    assert off_by(0) == 0 and off_by(2 * TOLERANCE) == pytest.approx(2 * TOLERANCE, rel=0.01)
    assert not off_by(float("nan")) <= TOLERANCE


@pytest.mark.parametrize("ending", ["", ".pth"])
def test_other_endings_are_refused(ending: str) -> None:
    with pytest.raises(
        UserError, match=r"is no format to export to; name a file that ends in \.onnx or \.pt2"
    ):
        format_of(ending)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mirl.runtime.export.importlib.util.find_spec", lambda name: None if name == "onnxscript" else name
    )
    with pytest.raises(UserError, match="needs onnxscript; install mirl with its extra `export`"):
        format_of(".onnx")
    assert format_of(".pt2") is FORMATS[".pt2"]

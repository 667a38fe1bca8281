"""Export of a module that takes images of any size to a file for other runtimes: ONNX, or PyTorch's own format.

Dims: B batch, C channels, H height, W width.
"""

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirl.config import UserError

Run = Callable[[Tensor], Tensor]
"""Function from a float32 BCHW image to one of the same shape."""
OPSET = 20
"""Version of the ONNX operator set that a runtime must support."""
DYNAMIC = {0: "batch", 2: "height", 3: "width"}


@dataclass(frozen=True, kw_only=True)
class Format:
    """File format of an export."""

    packages: tuple[str, ...]
    """Packages that writing and checking need besides torch."""
    write: Callable[[nn.Module, Tensor, Mapping[str, str]], bytes]
    """(module, example image, metadata for the file) -> content of the file."""
    run: Callable[[bytes], Run]
    """Content of a file -> function that runs it."""
    least: Callable[[int], int]
    """Multiple of the network -> smallest height and width in pixels that the exported file takes."""


def format_of(ending: str) -> Format:
    """Return the format of a file name's ending.

    Raises UserError if no format has the ending, or the packages that the format needs are not installed.
    """
    if ending not in FORMATS:
        raise UserError(
            f"{ending or 'no ending'} is no format to export to; name a file that ends in {ENDINGS}"
        )
    found = FORMATS[ending]
    missing = [package for package in found.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"{ending} needs {', '.join(missing)}; install mirl with its extra `export`: pip install 'mirl[export]'"
        )
    return found


def example(multiple: int) -> Tensor:
    """Make a random example that is no special case to torch: a batch of two, not square, padded on both sides."""
    return torch.rand(2, 3, 3 * multiple + 1, 5 * multiple - 1, generator=torch.Generator().manual_seed(0))


def _onnx(module: nn.Module, picture_BCHW: Tensor, facts: Mapping[str, str]) -> bytes:
    with _quiet():
        program = torch.onnx.export(
            module,
            (picture_BCHW,),
            input_names=["image"],
            output_names=["restored"],
            dynamic_shapes=(DYNAMIC,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "torch.onnx.export gave nothing"
    program.model.metadata_props.update(facts)
    content: bytes = program.model_proto.SerializeToString()
    return content


def _run_onnx(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda image_BCHW: torch.from_numpy(session.run(None, {"image": image_BCHW.numpy()})[0])


def _torch(module: nn.Module, picture_BCHW: Tensor, facts: Mapping[str, str]) -> bytes:
    sizes = (dict.fromkeys(DYNAMIC, torch.export.Dim.DYNAMIC),)
    buffer = io.BytesIO()
    with _quiet():
        program = torch.export.export(module, (picture_BCHW,), dynamic_shapes=sizes)
        torch.export.save(program, buffer, extra_files=dict(facts))
    return buffer.getvalue()


def _run_torch(content: bytes) -> Run:
    with _quiet():
        return torch.export.load(io.BytesIO(content)).module()


FORMATS: dict[str, Format] = {
    ".onnx": Format(
        packages=("onnx", "onnxscript", "onnxruntime"), write=_onnx, run=_run_onnx, least=lambda multiple: 1
    ),
    # torch.export takes a side that is one multiple, where the coarsest level has one pixel, for a special case.
    ".pt2": Format(packages=(), write=_torch, run=_run_torch, least=lambda multiple: multiple + 1),
}
ENDINGS = " or ".join(FORMATS)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's warnings about packages that are not needed here."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)

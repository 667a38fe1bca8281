"""Speed at which a lottery is trained: the authors' form and ours, side by side in one process.

Measured are a training step of PromptIR (forward, backward, optimiser, masks), its memory, the loader of patches, and a
step of pruning and rewinding; repetitions take turns. MIRL_REFERENCE names a checkout of the authors' repository
(without it only ours is timed); --data a folder in their layout (without it no loader is timed). A GPU is used if there
is one.

    pip install einops
    MIRL_REFERENCE=../MIR-L python -m benchmarks.training --data data/benchmark --write docs/results/training.md
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.memory import memory_mib
from benchmarks.ours import Ours
from benchmarks.reference import Reference, loader
from benchmarks.repetitions import in_turn, table
from benchmarks.restore import machine
from mirl.data.batches import Batch, BatchStream
from mirl.data.packed import PackedImages
from mirl.data.prepare import prepare
from mirl.data.sections import BatchSection, DataSection, MirlSource

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of the network and the batches, and how much of each is timed."""

    blocks: tuple[int, ...] = (4, 6, 6, 8)
    refinement: int = 4
    batch: int = 8
    patch: int = 64
    steps: int = 4
    """Training steps of one repetition."""
    loaded: int = 40
    """Batches that one repetition draws."""


FULL, QUICK = Size(), Size(blocks=(1, 1, 1, 1), refinement=1, batch=1, patch=16, steps=1, loaded=2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder in the layout of the MIR-L authors")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="how often all contenders are gone through")
    parser.add_argument("--quick", action="store_true", help="a small network, small patches")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--write", type=Path, help="file for the results, beside the terminal")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    if wanted.contender:
        print(peak_mb(wanted.contender, wanted))
        return 0
    device = _device()
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{wanted.threads} threads"
    data = " --data ..." if wanted.data else ""
    quick = " --quick" if wanted.quick else ""
    command = f"MIRL_REFERENCE=... python -m benchmarks.training{data}{quick} --repeats {wanted.repeats}"
    lines = ["# How fast a lottery is trained\n", f"`{command}`; {machine()}, {where}.\n"]
    print("\n".join(lines), flush=True)
    for part in wanted.only:
        added = PARTS[part](wanted)
        print("\n".join(added), flush=True)
        lines += added
        if wanted.write:
            wanted.write.write_text("\n".join(lines))
    return 0


def steps(wanted: argparse.Namespace) -> list[str]:
    """Measure the images/s of a training step, and return a table as lines of Markdown."""
    size, device = _size(wanted), _device()
    batch = _batch(size)
    work: dict[str, Callable[[], None]] = {}
    if _has_reference():
        theirs = Reference(list(size.blocks), size.refinement, device)
        theirs.train_under_mask()
        plain = batch.degraded_BCHW.contiguous(), batch.clean_BCHW.contiguous()
        for precision in PRECISIONS:
            work[f"MIR-L, {precision}"] = partial(_often, partial(theirs.step, plain, precision), size.steps)
    for precision in PRECISIONS:
        ours = Ours(list(size.blocks), size.refinement, device)
        ours.train_under_mask(precision, size.batch)
        work[f"mirl, {precision}"] = partial(ours.steps, batch, size.steps, wanted.threads)
    seconds = in_turn(work, wanted.repeats)
    title = f"{size.steps} steps of {size.batch} patches of {size.patch} x {size.patch}"
    return ["## Training step\n", *table(title, "images/s", seconds, size.steps * size.batch)]


def memory(wanted: argparse.Namespace) -> list[str]:
    """Measure the peak memory of two training steps in MB, each contender in a process of its own."""
    names = [f"{who}, {precision}" for who in ("MIR-L", "mirl") for precision in PRECISIONS]
    taken = {}
    for name in names:
        if name.startswith("mirl") or _has_reference():
            command = [
                sys.executable,
                "-m",
                "benchmarks.training",
                "--contender",
                name,
                "--threads",
                str(wanted.threads),
            ]
            command += ["--quick"] if wanted.quick else []
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            taken[name] = float(done.stdout.splitlines()[-1])
    whose = "of the GPU's memory" if _device().type == "cuda" else "of the process, libraries included"
    rows = [f"| {name} | {mb:.0f} | {mb / next(iter(taken.values())):.2f} |" for name, mb in taken.items()]
    return ["## Memory\n", f"| two steps | MB, the most {whose} | of the first |", "|---|---|---|", *rows, ""]


def peak_mb(name: str, wanted: argparse.Namespace) -> float:
    """Return the peak memory in MB (1e6 bytes) after two steps in this process."""
    size, device = _size(wanted), _device()
    batch, precision = _batch(size), name.partition(", ")[2]
    if name.startswith("mirl"):
        ours = Ours(list(size.blocks), size.refinement, device)
        ours.train_under_mask(precision, size.batch)
        ours.steps(batch, 2, wanted.threads)
    else:
        theirs = Reference(list(size.blocks), size.refinement, device)
        theirs.train_under_mask()
        for _ in range(2):
            theirs.step((batch.degraded_BCHW.contiguous(), batch.clean_BCHW.contiguous()), precision)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return memory_mib("VmHWM") * 2**20 / 1e6  # not ru_maxrss, which a process inherits


def loading(wanted: argparse.Namespace) -> list[str]:
    """Measure the patches/s of one core, all five tasks alike."""
    if not wanted.data:
        return []
    size = _size(wanted)
    torch.set_num_threads(1)
    work: dict[str, Callable[[], None]] = {}
    if _has_reference():
        theirs = _endless(loader(wanted.data, size.batch, size.patch))
        work["MIR-L"] = partial(_draw, theirs, size.loaded)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # leaks, which are left out
        section = DataSection(root="", leaks="leave_out", sources={"all": MirlSource(kind="mirl")})
        begun = time.perf_counter()
        prepare(section, wanted.data, Path(folder))
        prepared = time.perf_counter() - begun
        for name, synthetic in (("pairs from files", {}), ("rain made on the fly", {"derain": 1.0})):
            drawn = BatchSection(batch=size.batch, patch=size.patch, synthetic=synthetic)
            ours = _stream(BatchStream(PackedImages(Path(folder)), drawn, 0))
            work[f"mirl, {name}"] = partial(_draw, ours, size.loaded)
        seconds = in_turn(work, wanted.repeats)
    torch.set_num_threads(wanted.threads)
    rows = table(f"{size.loaded} batches, one core", "patches/s", seconds, size.loaded * size.batch)
    return ["## Loader\n", *rows, f"Ours reads what `prepare` makes once, here in {prepared:.0f} s.\n"]


def pruning(wanted: argparse.Namespace) -> list[str]:
    """Measure the seconds from the trained network to the masked origin, loaded into the network, all on its device."""
    size, device = _size(wanted), _device()
    ours, lines = Ours(list(size.blocks), size.refinement, device), ["## Prune and rewind\n"]
    theirs = Reference(list(size.blocks), size.refinement, device) if _has_reference() else None
    for scope, theirs_scope in (("global", "global"), ("layerwise", "layer")):
        work: dict[str, Callable[[], None]] = {"mirl": partial(ours.prune, scope)}
        before: dict[str, Callable[[], None]] = {}
        if theirs:
            work = {"MIR-L": partial(theirs.prune, theirs_scope)} | work
            before = {"MIR-L": theirs.begin_round}
        seconds = in_turn(work, wanted.repeats, before)
        lines += table(f"a fifth of {ours.parent.mask.total / 1e6:.1f} M weights, {scope}", "1/s", seconds, 1)
    return lines


PARTS: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "pruning": pruning,
    "loading": loading,
    "steps": steps,
    "memory": memory,
}


def _batch(size: Size) -> Batch:
    generator = torch.Generator().manual_seed(0)
    patches = [torch.rand(size.batch, size.patch, size.patch, 3, generator=generator) for _ in range(2)]
    degraded_BCHW, clean_BCHW = (patch_BHWC.permute(0, 3, 1, 2) for patch_BHWC in patches)
    return Batch(degraded_BCHW=degraded_BCHW, clean_BCHW=clean_BCHW, tasks=[], images=[])


def _often(step: Callable[[], None], count: int) -> None:
    for _ in range(count):
        step()


def _endless(batches: torch.utils.data.DataLoader) -> Iterator[object]:
    while True:
        yield from batches


def _stream(stream: BatchStream) -> Iterator[object]:
    step = 0
    while True:
        yield stream.batch(step)
        step += 1


def _draw(batches: Iterator[object], count: int) -> None:
    for _ in range(count):
        next(batches)


def _size(wanted: argparse.Namespace) -> Size:
    return QUICK if wanted.quick else FULL


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _has_reference() -> bool:
    return bool(os.environ.get("MIRL_REFERENCE"))


if __name__ == "__main__":
    sys.exit(main())

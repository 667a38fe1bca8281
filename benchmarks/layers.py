"""Time of the engine: seconds of each kind of layer, beside what its weights and its memory alone would take.

    python benchmarks/layers.py --network promptir --density 0.1 --side 256

The bounds are the multiply-adds of kept weights at the rate of the kernel for dense planes, and the bytes that a layer
must read and write at the rate at which this machine copies. Both rates are measured first, on as many threads.
"""

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.restore import machine, pruned
from mirl.runtime.convolution import SparseConv
from mirl.runtime.engine import accelerate
from mirl.runtime.naf import SparseNafBlock
from mirl.runtime.rows import make_rows, sum_rows
from mirl.runtime.transformer import SparseAttention, SparseFeedForward

PASSES = {SparseConv: (1, 1), SparseAttention: (2, 3), SparseFeedForward: (1, 1), SparseNafBlock: (3, 3)}
"""Kind of layer -> how often its input, and how often an image of its output's size, goes through memory.

Attention reads its input twice, writes values, reads them, and writes its output.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("promptir", "nafnet"), default="promptir")
    parser.add_argument("--scope", choices=("global", "layerwise"), default="global")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--side", type=int, default=256, help="of the square picture, pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--busy", action="store_true", help="time the processor alone; for --threads 1")
    wanted = parser.parse_args()
    torch.set_num_threads(1)  # as `Restorer` does: the kernels have threads of their own
    copying, multiplying = copy_rate(wanted.threads), multiply_rate(wanted.threads)
    print(
        f"{machine()}, {wanted.threads} threads; copies {copying:.1f} GB/s, multiplies {multiplying:.0f} GMAC/s\n"
    )
    network = accelerate(pruned(wanted.network, wanted.scope, wanted.density), wanted.threads)
    watch = Watch(network, time.thread_time if wanted.busy else time.perf_counter)
    rows, total = watch.run(torch.rand(1, 3, wanted.side, wanted.side), wanted.repeats)
    print(
        f"{wanted.network}, {wanted.scope} mask, density {wanted.density}, {wanted.side} x {wanted.side}: {total:.3f} s\n"
    )
    print("| kind of layer | number | s | share | memory alone, s |\n|---|---|---|---|---|")
    for kind, seconds in sorted(rows.items(), key=lambda row: -row[1]):
        bound = watch.bytes[kind] / copying / 1e9 if kind in watch.bytes else 0.0
        print(f"| {kind} | {watch.count[kind]} | {seconds:.3f} | {seconds / total:.0%} | {bound:.3f} |")
    return 0


class Watch:
    """A network whose layers are timed one by one: those of the engine, torch's own, and the rest."""

    def __init__(self, network: nn.Module, clock: Callable[[], float]) -> None:
        self.network, self.clock = network, clock
        self.seconds: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.count: Counter[str] = Counter()
        for module in network.modules():
            if type(module) in PASSES or (not list(module.children()) and list(module.parameters())):
                module.register_forward_pre_hook(self._begin)
                module.register_forward_hook(self._end)

    def run(self, x_BCHW: torch.Tensor, repeats: int) -> tuple[dict[str, float], float]:
        """Return the median seconds of each kind of layer, and of the whole network."""
        rounds: list[dict[str, float]] = []
        with torch.inference_mode():
            for _ in range(repeats + 1):
                self.seconds, self.bytes, self.count = Counter(), Counter(), Counter()
                begun = self.clock()
                self.network(x_BCHW)
                whole = self.clock() - begun
                rounds.append({**self.seconds, "all": whole, "between layers": whole - self.seconds.total()})
        middle = {kind: statistics.median(one[kind] for one in rounds[1:]) for kind in rounds[1]}
        return middle, middle.pop("all")

    def _begin(self, module: nn.Module, given: Any) -> None:
        module._begun = self.clock()  # type: ignore[assignment]

    def _end(self, module: nn.Module, given: Any, out: torch.Tensor) -> None:
        kind = type(module).__name__ if type(module) in PASSES else f"torch's {type(module).__name__}"
        self.seconds[kind] += self.clock() - float(module._begun)  # type: ignore[arg-type, assignment]
        self.count[kind] += 1
        if type(module) in PASSES:
            reads, writes = PASSES[type(module)]
            self.bytes[kind] += reads * given[0].nbytes + writes * out.nbytes


def copy_rate(threads: int) -> float:
    """Measure the GB/s, read and written together, of copying images that no cache holds."""
    images = [np.ones((128, 512, 512), np.float32) for _ in range(2 * threads)]
    seconds = _together(threads, lambda part: np.copyto(images[2 * part], images[2 * part + 1]))
    return 2 * threads * images[0].nbytes / seconds / 1e9


def multiply_rate(threads: int) -> float:
    """Measure the GMAC/s of the dense kernel over planes that lie in the second-level cache."""
    planes, pixels, plane = 96, 512, 528
    matrix = make_rows(np.ones((planes, planes, 1), np.float32), np.arange(planes)[:, None] * plane)
    memory = [np.ones(2 * planes * plane, np.float32) for _ in range(threads)]

    def work(part: int) -> None:
        for _ in range(100):
            sum_rows(matrix, (0, planes), memory[part], (0, 0), (planes * plane, plane), pixels)

    return 100 * threads * planes**2 * pixels / _together(threads, work) / 1e9


def _together(threads: int, work: Callable[[int], Any]) -> float:
    """Return the least seconds of ten runs in which all threads do their part."""
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(10):
            begun = time.perf_counter()
            list(pool.map(work, range(threads)))
            seconds.append(time.perf_counter() - begun)
    return min(seconds)


if __name__ == "__main__":
    sys.exit(main())

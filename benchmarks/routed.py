"""Time that routing by difficulty saves on this machine's CPU, beside the work that it saves.

    python -m benchmarks.routed [--side 1024] [--density 1.0] [--structure unstructured] [--threads 2]

The network is untrained, of the size of the study `bench`, cut to `--density`; its router is untrained too, and its
prices are calibrated on the patches of the very picture, so that it does the share of the work that it is asked for.
Nothing is said of quality. Each way of restoring takes its turn in each repetition; the seconds are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mirl import networks
from mirl.data.batches import Batch
from mirl.methods.class_pruning import ClassPruning, ClassPruningArm
from mirl.methods.plan import Parent
from mirl.networks import NetworkSection
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.sparsity.scope import SCOPES
from mirl.tickets.model import SparseModel
from mirl.tickets.routing import ByDifficulty

OPTIONS: dict[str, Any] = {"width": 16, "encoder": [1, 1], "middle": 2, "decoder": [1, 1], "shuffle": 1}
STRUCTURES = {
    "unstructured": {"kind": "unstructured"},
    "n_of_m": {"kind": "n_of_m", "m": 16, "indivisible": "keep"},
    "n_of_m_4": {"kind": "n_of_m", "m": 16, "outputs": 4, "indivisible": "keep"},
}
WORKS = (0.8, 0.65, 0.5)
Way = Callable[[Tensor], tuple[Tensor, float]]


def routed(density: float, structure: str, patch: int, image_BCHW: Tensor) -> SparseModel:
    """Return an untrained model whose router is calibrated on the patches of an image."""
    section = NetworkSection(name="nafnet", options=OPTIONS)
    network = networks.build(section)
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    whole = Mask.full(networks.prunable(network, False))
    scores = {name: state[name].abs() for name in whole}
    mask = whole if density == 1 else SCOPES["layerwise"](scores, whole, int(whole.total * density), 0.0)
    parent = Parent(
        network=section, state=mask.apply(state), masks=Masks.one(mask), origin=state, origin_step=0
    )
    arm = {"method": "class_pruning", "structure": STRUCTURES[structure], "router": {"patch": patch}}
    method = ClassPruning(ClassPruningArm.read(arm, "the benchmark"))
    patches_BCHW = image_BCHW[0].unfold(1, patch, patch).unfold(2, patch, patch).permute(1, 2, 0, 3, 4)
    patches_BCHW = patches_BCHW.flatten(0, 1).contiguous()

    def draw(number: int) -> Batch:
        return Batch(degraded_BCHW=patches_BCHW, clean_BCHW=patches_BCHW, tasks=[], images=[])

    for _ in range(2):
        plan = method.plan(parent, _no_other)
        assert plan.origin is not None
        parent = method.calibrate(method.absorb(plan, plan.state, plan.origin, 0), draw, parent)
    return parent


def _no_other(seed: int) -> State:
    raise AssertionError("no other initialisation is asked for")


def ways(model: SparseModel, routing: ByDifficulty, threads: int) -> dict[str, Way]:
    """Return each way of restoring an image, which gives the image and the share of the work."""
    restorer = Restorer(model, threads=threads)
    found: dict[str, Way] = {}
    for mask in routing.masks(list(model.masks)):
        found[f"{mask} alone"] = Restorer(model.alone(mask), threads=threads).measured
    for work in WORKS:
        found[f"routed {work:g}"] = partial(restorer.measured, work=work)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help="height and width of the picture, pixels")
    parser.add_argument("--density", type=float, default=1.0, help="of the ticket that the levels are inside")
    parser.add_argument("--structure", choices=STRUCTURES, default="unstructured")
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--busy", action="store_true", help="time the processor alone; for --threads 1")
    wanted = parser.parse_args()
    clock = time.thread_time if wanted.busy else time.perf_counter
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, wanted.side // 16, wanted.side // 16, generator=draw)
    image_BCHW = torch.nn.functional.interpolate(coarse, scale_factor=16, mode="bilinear")
    image_BCHW += 0.1 * torch.rand(image_BCHW.shape, generator=draw) * image_BCHW
    model = routed(wanted.density, wanted.structure, wanted.patch, image_BCHW)
    routing = model.routing
    assert isinstance(routing, ByDifficulty)
    runs = ways(model, routing, wanted.threads)
    shares = {name: run(image_BCHW)[1] for name, run in runs.items()}  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(wanted.repeats):
        for name, run in runs.items():
            begun = clock()
            run(image_BCHW)
            seconds[name].append(clock() - begun)
    shares |= {f"{name} alone": share for name, share in routing.levels.items()}
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    largest = middle[f"{routing.masks([])[-1]} alone"]
    print("| way | share of the work | seconds | share of the time |\n|---|---|---|---|")
    for name in runs:
        print(f"| {name} | {shares[name]:.3f} | {middle[name]:.3f} | {middle[name] / largest:.3f} |")


if __name__ == "__main__":
    main()

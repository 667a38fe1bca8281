"""Time that a network takes for one picture on a CPU: the published form, dense runtimes, and our engine.

Each contender runs in a process of its own, on the same threads, one after the other; all are gone through several
times, so that a slow minute falls on all. MIRL_REFERENCE names a checkout of the authors' repository; what is not
installed is left out.

    pip install onnxruntime openvino onnx onnxscript einops
    MIRL_REFERENCE=../MIR-L python benchmarks/restore.py
"""

import argparse
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mirl.networks import Network, NetworkSection, build, prunable

DENSITIES = (1.0, 0.5, 0.2, 0.1, 0.035)
NETWORKS: dict[str, dict[str, Any]] = {"promptir": {}, "nafnet": {"width": 16, "shuffle": 1}}
"""The published size of PromptIR, and the laptop-size network of the study `bench`: options of each."""
Run = Callable[[np.ndarray], np.ndarray]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--network", choices=NETWORKS, default="promptir", help="PromptIR is the full-size one"
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[256], help="of the square picture, pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=2, help="how often all contenders are gone through")
    parser.add_argument("--repeats", type=int, default=3, help="pictures that are timed in each pass")
    parser.add_argument("--only", nargs="+", help="contenders, by their names")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--onnx", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.contender:
        print(json.dumps(measure(wanted)))
        return 0
    print(f"{machine()}, {wanted.threads} threads\n", flush=True)
    there = contenders(wanted.network)
    if missing := set(wanted.only or []) - set(there):
        parser.error(f"no {', '.join(sorted(missing))} here; there are {', '.join(there)}")
    names = [name for name in there if not wanted.only or name in wanted.only]
    for side in wanted.sides:
        compare(names, side, wanted)
    return 0


def contenders(network: str) -> list[str]:
    """Return the names of all contenders that can run this network here."""
    there = {
        name: importlib.util.find_spec(name) is not None for name in ("onnxruntime", "openvino", "onnxscript")
    }
    names = ["reference"] if os.environ.get("MIRL_REFERENCE") and network == "promptir" else []
    names += ["torch"]
    names += ["onnxruntime"] if there["onnxruntime"] and there["onnxscript"] else []
    names += ["openvino fp32", "openvino"] if there["openvino"] and there["onnxscript"] else []
    return (
        names + [f"engine {kind} {density}" for density in DENSITIES for kind in ("global", "layerwise")][1:]
    )


def compare(names: list[str], side: int, wanted: argparse.Namespace) -> None:
    """Measure every contender on a picture of `side` x `side` pixels, and print a row for each."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    facts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder, "dense.onnx")
        if any("onnx" in name or "openvino" in name for name in names):
            torch.onnx.export(
                dense(wanted.network), (torch.rand(1, 3, side, side),), onnx, dynamo=True, verbose=False
            )
        for _ in range(wanted.passes):
            for name in names:
                facts[name] = _child(name, side, wanted, onnx)
                seconds[name] += facts[name]["seconds"]
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"| {side} x {side} | s, median of {wanted.passes * wanted.repeats} | all | peak MiB | GMAC |", end=""
    )
    print(
        " ".join(f" of {name} |" for name in _yardsticks(names)),
        "\n|" + "---|" * (5 + len(_yardsticks(names))),
    )
    for name in names:
        each = " ".join(f"{value:.3g}" for value in sorted(seconds[name]))
        ratios = " | ".join(f"{middle[other] / middle[name]:.2f}" for other in _yardsticks(names))
        row = (name, f"{middle[name]:.3g}", each, f"{facts[name]['mib']:.0f}", facts[name]["gmac"], ratios)
        print("|", " | ".join(row), "|", flush=True)
    print(flush=True)


def _yardsticks(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("engine")]


def _child(name: str, side: int, wanted: argparse.Namespace, onnx: Path) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--contender",
        name,
        "--network",
        wanted.network,
        "--sides",
        str(side),
        "--onnx",
        str(onnx),
    ]
    command += ["--threads", str(wanted.threads), "--repeats", str(wanted.repeats)]
    environment = os.environ | {"OMP_NUM_THREADS": str(wanted.threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(wanted: argparse.Namespace) -> dict[str, Any]:
    """Measure a contender in this process: seconds of each picture after a first one, and the peak memory in MiB."""
    torch.set_num_threads(wanted.threads)
    side = wanted.sides[0]
    picture_BCHW = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    run, gmac = prepare(wanted, side)
    seconds = []
    with torch.inference_mode():
        for _ in range(wanted.repeats + 1):
            begun = time.perf_counter()
            run(picture_BCHW)
            seconds.append(time.perf_counter() - begun)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds[1:], "mib": mib, "gmac": gmac}


def prepare(wanted: argparse.Namespace, side: int) -> tuple[Run, str]:
    """Return what restores a picture, and how many GMAC its weights ask for, or an empty string."""
    kind, *rest = wanted.contender.split()
    if kind == "reference":
        return _torch(_reference()), ""
    if kind == "torch":
        network = dense(wanted.network)
        return _torch(network, torch.channels_last), _gmac(network, side)
    if kind == "onnxruntime":
        return _onnxruntime(wanted.onnx, wanted.threads), ""
    if kind == "openvino":
        return _openvino(wanted.onnx, wanted.threads, "f32" if rest else ""), ""
    from mirl.runtime.engine import accelerate

    torch.set_num_threads(1)  # as `Restorer` does: the kernels have threads of their own
    network = pruned(wanted.network, rest[0], float(rest[1]))
    return _torch(accelerate(network, wanted.threads)), _gmac(network, side)


def dense(name: str) -> Network:
    """Return an untrained network of the size in NETWORKS."""
    return build(NetworkSection(name=name, options=NETWORKS[name])).eval().requires_grad_(False)


def pruned(name: str, scope: str, density: float) -> Network:
    """Return an untrained network without its smallest weights: of all tensors together, or of each tensor."""
    network = dense(name)
    weights = prunable(network, prompts=True)
    together = torch.cat([weight.abs().flatten() for weight in weights.values()]).numpy()
    for weight in weights.values():
        among = together if scope == "global" else weight.abs().flatten().numpy()
        cut = int(len(among) * (1 - density))
        weight.mul_(weight.abs() >= float(np.partition(among, cut)[cut]) if cut else torch.ones(()))
    return network


def _gmac(network: Network, side: int) -> str:
    from mirl.sparsity.accounting import macs
    from mirl.sparsity.mask import Mask

    mask = Mask({name: weight != 0 for name, weight in prunable(network, prompts=True).items()})
    return f"{macs(network, mask, side, side).kept_g:.1f}"


def _torch(network: Any, memory_format: torch.memory_format = torch.contiguous_format) -> Run:
    def run(picture_BCHW: np.ndarray) -> np.ndarray:
        result: np.ndarray = network(
            torch.from_numpy(picture_BCHW).contiguous(memory_format=memory_format)
        ).numpy()
        return result

    return run


def _reference() -> Any:
    sys.path.insert(0, os.environ["MIRL_REFERENCE"])
    from models.network import PromptIR  # type: ignore[import-not-found]

    return PromptIR(decoder=True).eval().requires_grad_(False)


def _onnxruntime(path: str, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda picture_BCHW: session.run(None, {given.name: picture_BCHW})[0]


def _openvino(path: str, threads: int, precision: str) -> Run:
    import openvino

    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    settings |= {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda picture_BCHW: compiled(picture_BCHW)[0]


def machine() -> str:
    """Return the machine, day, load and commit of a measurement, as text."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    commit = "unknown"
    with suppress(OSError):  # a machine without git
        asked = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    load = f"load before {os.getloadavg()[0]:.1f}"
    return f"{model}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, {load}, commit {commit}"


if __name__ == "__main__":
    sys.exit(main())

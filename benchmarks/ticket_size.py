"""Size of a ticket of full-size PromptIR, the time it takes to load, and the loss by smaller values.

The weights are untrained and cut by magnitude, prompts too, to the density of 15 rounds at 20 %. With tickets and the
folder of the study whose data they are to be scored on, the loss in dB is measured instead; that is what takes long.

    python benchmarks/ticket_size.py
    python benchmarks/ticket_size.py --ticket tickets/global-r4/ticket.safetensors --data . --limit 20
"""

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mirl.evaluation.scoring import EvaluateSection, score, summary
from mirl.networks import NetworkSection, build, prunable
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.sparsity.schedule import keep_at
from mirl.sparsity.scope import SCOPES
from mirl.study.held_out import held_out_images
from mirl.tickets import bits
from mirl.tickets.lineage import Lineage
from mirl.tickets.pack import packed
from mirl.tickets.reading import read
from mirl.tickets.ticket import Ticket
from mirl.tickets.values import DTYPES
from mirl.tickets.writing import write

DENSITY = 0.8**15
DENSITIES = (0.9, 0.5, 0.38, 0.2, 0.1, DENSITY)
KINDS = tuple(DTYPES)
REPEATS = 15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticket", type=Path, nargs="+", default=[], help="tickets whose loss is measured")
    parser.add_argument("--data", type=Path, help="folder of a study: its data/prepared is scored on")
    parser.add_argument("--limit", type=int, help="test images of each task (default: all)")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{_machine()}\n", flush=True)
    if wanted.ticket:
        losses(wanted.ticket, wanted.data or Path(), wanted.limit)
        return 0
    dense = _dense()
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "dense.safetensors")
        save_file(dense.state, plain)
        files = {f"{scope}, {kind}": Path(folder, f"{scope}-{kind}") for scope in SCOPES for kind in KINDS}
        for scope in SCOPES:
            _write_all(_cut(dense, scope, DENSITY), {kind: files[f"{scope}, {kind}"] for kind in KINDS})
        sizes(plain, files)
        write(dense, Path(folder, "ticket"))
        seconds(plain, {"dense ticket": Path(folder, "ticket")} | files)
    masks(dense)
    return 0


def sizes(plain: Path, files: dict[str, Path]) -> None:
    """Print a row for each file beside the dense one, with how its bytes are spent."""
    whole = plain.stat().st_size
    _head("file", "MB", "of the dense file", "mask MB", "kept MB", "the rest MB")
    _row("dense, fp32, safetensors", f"{whole / 1e6:.2f}", "1", "", "", "")
    for name, path in files.items():
        size = path.stat().st_size
        spent = _spent(path)
        rest = size - sum(spent.values())
        parts = (f"{count / 1e6:.3f}" for count in (*spent.values(), rest))
        _row(name, f"{size / 1e6:.3f}", f"1/{whole / size:.1f}", *parts)


def seconds(plain: Path, files: dict[str, Path]) -> None:
    """Print how long each file takes to load, one after the other, REPEATS times; all are in the disk's cache."""
    loads: dict[str, Callable[[], object]] = {
        "dense, mapped (`load_file`)": lambda: load_file(plain),
        "dense, in memory of its own": lambda: {n: t.clone() for n, t in load_file(plain).items()},
    }
    loads |= {name: lambda path=path: read(path) for name, path in files.items()}  # type: ignore[misc]
    spent: dict[str, list[float]] = {name: [] for name in loads}
    for _ in range(REPEATS):
        for name, load in loads.items():
            begun = time.perf_counter()
            load()
            spent[name].append(time.perf_counter() - begun)
    _head("load", f"ms, median of {REPEATS}", "from", "to")
    for name, values in spent.items():
        _row(
            name, *(f"{1000 * value:.0f}" for value in (statistics.median(values), min(values), max(values)))
        )


def masks(dense: Ticket) -> None:
    """Print the sizes of whole masks in several codes over their entropy, each tensor by its own density."""
    _head("density", "mask", "bound MB", "Golomb-Rice", "zlib, Huffman only", "bitmap", "worst tensor")
    for density in DENSITIES:
        for scope in SCOPES:
            keeps = [keep.numpy().reshape(-1) for keep in _cut(dense, scope, density).mask.values()]
            bounds = np.array([entropy_bytes(keep_N) for keep_N in keeps])
            coded = np.array([bits.encode(keep_N).size for keep_N in keeps])
            others = [sum(map(code, keeps)) for code in (zlib_bytes, lambda keep_N: -(-keep_N.size // 8))]
            shares = [f"{size / bounds.sum():.3f}" for size in (coded.sum(), *others)]
            partly = bounds > 0
            worst = int(np.argmax(np.where(partly, coded, 0) / np.where(partly, bounds, 1)))
            told = f"{coded[worst] / bounds[worst]:.3f} ({keeps[worst].sum()} of {keeps[worst].size})"
            _row(f"{density:.3f}", scope, f"{bounds.sum() / 1e6:.3f}", *shares, told)


def entropy_bytes(keep_N: np.ndarray) -> float:
    """Return n H(k / n) in bytes: the least that a code of masks of this size and density takes on average.

    That holds whatever else is known of the masks.
    """
    share = keep_N.mean()
    if share in (0, 1):
        return 0.0
    return float(-keep_N.size * (share * math.log2(share) + (1 - share) * math.log2(1 - share)) / 8)


def zlib_bytes(keep_N: np.ndarray) -> int:
    """Return the size in bytes of the mask's gaps, as bytes (255: and so many more), under zlib's Huffman code."""
    rarer_N = keep_N if 2 * keep_N.sum() <= keep_N.size else ~keep_N
    gap_M = np.diff(np.flatnonzero(rarer_N), prepend=-1) - 1
    text = np.full(int((gap_M // 255).sum()) + gap_M.size, 255, np.uint8)
    text[np.cumsum(gap_M // 255 + 1) - 1] = gap_M % 255
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return len(coder.compress(text.tobytes()) + coder.flush())


def losses(paths: Sequence[Path], root: Path, limit: int | None) -> None:
    """Print the PSNR in dB of fp32, and the difference to it of every other kind of values, by task."""
    section, images = EvaluateSection(limit=limit), list(held_out_images(root))
    for path in paths:
        ticket = read(path)
        scores: dict[str, dict[str, float]] = {}
        for kind in KINDS:
            rounded = ticket if kind == "fp32" else packed(ticket, kind)
            restorer = Restorer(rounded, threads=1, skip_zeros=False)
            found = summary(score(restorer.run, images, section), section.protocols[0])
            scores[kind] = {key[8:]: value for key, value in found.items() if key.startswith("psnr_db/")}
        name = f"{ticket.lineage.name}, {ticket.densities.prunable:.1%}"
        _head(name, *(f"{task}, dB" for task in scores["fp32"]))
        _row("fp32", *(f"{value:.3f}" for value in scores["fp32"].values()))
        for kind in KINDS[1:]:
            _row(kind, *(f"{value - scores['fp32'][task]:+.4f}" for task, value in scores[kind].items()))


def _dense() -> Ticket:
    section = NetworkSection(name="promptir", prune_prompts=True)
    network = build(section)
    state = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    lineage = Lineage(
        name="untrained", arm="", method="init", round=0, parent="", fingerprint="0" * 64, seed=0, steps=0,
        origin_step=0, data="", settings={},
    )  # fmt: skip
    mask = Mask.full(prunable(network, section.prune_prompts))
    return Ticket(network=section, state=state, masks=Masks.one(mask), lineage=lineage)


def _cut(dense: Ticket, scope: str, density: float) -> Ticket:
    scores = {name: dense.state[name].abs() for name in dense.mask}
    mask = SCOPES[scope](scores, dense.mask, keep_at(dense.mask.total, density), 0.0)
    mask = Mask({name: keep.contiguous() for name, keep in mask.items()})
    return replace(dense, state=mask.apply(dense.state), masks=Masks.one(mask))


def _write_all(ticket: Ticket, paths: dict[str, Path]) -> None:
    write(ticket, paths["fp32"])
    for kind in KINDS[1:]:
        write(packed(read(paths["fp32"]), kind), paths[kind])


def _spent(path: Path) -> dict[str, int]:
    """Return the bytes of the masks and of the kept weights in a ticket's file."""
    tensors = load_file(path)
    return {
        part: sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith(f"{part}."))
        for part in ("mask", "kept")
    }


def _head(*words: str) -> None:
    print()
    _row(*words)
    _row(*("---" for _ in words))


def _row(*words: str) -> None:
    print("|", " | ".join(words), "|", flush=True)


def _machine() -> str:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    load = f"load before {os.getloadavg()[0]:.1f}"
    day = time.strftime("%Y-%m-%d")
    return f"{model}, {os.cpu_count()} cores, one thread, {day}, {load}, commit {commit.stdout.strip()}"


if __name__ == "__main__":
    sys.exit(main())

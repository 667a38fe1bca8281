"""Memory that `mirl restore` takes for a large photograph, above what it has once the ticket is loaded.

    python benchmarks/memory.py TICKET --memory 1G --size 6000x4000 [--bits 16]

It reads and writes a file as the command does; the high-water mark is the kernel's (Linux). The exit code is 1 if the
memory is over the budget.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mirl.command.amounts import size
from mirl.restore import image_file
from mirl.restore.photograph import Photograph
from mirl.restore.restorer import MIB, Restorer
from mirl.tickets import reading


def memory_mib(key: str) -> float:
    """Return the memory of this process in MiB.

    VmRSS: resident now; VmHWM: the most that was resident since the mark was last set back.
    """
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def scene(width: int, height: int, bits: int) -> np.ndarray:
    """Return a noisy picture with something everywhere, of shape (height, width, 3), as uint8 or uint16."""
    top, chance = 2**bits - 1, np.random.default_rng(0)
    columns, rows = np.linspace(0, 40, width), np.linspace(0, 30, height)
    image_HWC = np.empty((height, width, 3), np.uint8 if bits == 8 else np.uint16)
    for row in range(height):
        wave = 0.5 + 0.3 * np.sin(columns + rows[row]) + chance.normal(0, 0.1, width)
        image_HWC[row] = (wave.clip(0, 1) * top)[:, None]
    return image_HWC


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("ticket", type=Path)
    parser.add_argument("--memory", type=size, default="1G")
    parser.add_argument("--size", default="6000x4000")
    parser.add_argument("--bits", type=int, choices=[8, 16], default=8)
    wanted = parser.parse_args()
    width, height = map(int, wanted.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.png", Path(folder) / "out.png"
        image_file.write(Photograph(rgb_HWC=scene(width, height, wanted.bits)), source)
        restorer = Restorer(reading.read(wanted.ticket), memory=wanted.memory)
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
        before, started = memory_mib("VmRSS"), time.monotonic()
        photograph = image_file.read(source, wanted.memory, restorer.scale)
        photograph = photograph.with_pixels(restorer(photograph.rgb_HWC))
        restored = memory_mib("VmHWM") - before
        image_file.write(photograph, target)
        taken, seconds = memory_mib("VmHWM") - before, time.monotonic() - started
    print(
        f"{width} x {height}, {wanted.bits} bits: {taken:.0f} MiB of {wanted.memory / MIB:.0f} MiB "
        f"({restored:.0f} MiB before it was written), beside {before:.0f} MiB; {seconds:.0f} s"
    )
    return int(taken * MIB > wanted.memory)


if __name__ == "__main__":
    sys.exit(main())

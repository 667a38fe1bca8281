"""Change of a ticket's PSNR by tiling, on photographs that fit untiled.

    python benchmarks/seams.py TICKET [--side 300]

The photographs are those that scikit-image ships, with noise (sigma 25 of 255) and under an even haze; `--side` is the
side of the tiles in pixels.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import skimage.data

from mirl.restore.restorer import Restorer
from mirl.tickets import reading

GOAL_DB = 0.02


def psnr_db(one_HWC: np.ndarray, other_HWC: np.ndarray) -> float:
    error = np.square(one_HWC / 255 - other_HWC / 255).mean()
    return -10 * math.log10(error)


def degraded(clean_HWC: np.ndarray) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).normal(0, 25, clean_HWC.shape)
    pictures = {"noise": clean_HWC + noise, "haze": clean_HWC * 0.6 + 0.4 * 0.9 * 255}
    return {name: np.rint(picture).clip(0, 255).astype(np.uint8) for name, picture in pictures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("ticket", type=Path)
    parser.add_argument("--side", type=int, default=300)
    wanted = parser.parse_args()
    ticket = reading.read(wanted.ticket)
    whole = Restorer(ticket, memory=2**40)
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        clean_HWC = getattr(skimage.data, name)()
        for kind, image_HWC in degraded(clean_HWC).items():
            memory = whole.memory_for(wanted.side**2, image_HWC.shape[:2], itemsize=1)
            times, found = [time.monotonic()], []
            for restorer in (whole, Restorer(ticket, memory=memory)):
                found.append(psnr_db(restorer(image_HWC), clean_HWC))
                times.append(time.monotonic())
            change_db = found[1] - found[0]
            print(
                f"{name:10} {kind:6} {found[0]:.2f} dB untiled, tiled {change_db:+.4f} dB "
                f"{'' if abs(change_db) < GOAL_DB else '(over the goal)'} "
                f"{(times[2] - times[1]) / (times[1] - times[0]):.1f} times as long"
            )


if __name__ == "__main__":
    main()

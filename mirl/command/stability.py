"""`mirl stability`: finds the first step to which the study's dense network can be rewound."""

from collections.abc import Sequence
from pathlib import Path

from mirl.study.params import read_params
from mirl.study.stability import stabilities
from mirl.study.study import Study

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Shares of the schedule: the steps that are tried if none are named."""
STABLE = 0.02
"""Largest instability that still counts as stable (1912.05671)."""


def run(params_file: Path, steps: Sequence[int]) -> int:
    """Print the instability at each step; return exit code 0.

    Raises UserError if the study has no prepared data, or a step is outside of its schedule.
    """
    params = read_params(params_file)
    steps = sorted(set(steps)) or sorted({round(share * params.train.steps) for share in SHARES})
    print(
        f"two trainings of {params.train.steps:,} steps for each of step {', '.join(map(str, steps))}",
        flush=True,
    )
    print(
        f"{'step':>8} {'of all':>7} {'loss at ends':>13} {'on the line':>12} {'instability':>12}", flush=True
    )
    first = None
    for found in stabilities(Study(root=Path(), params=params), steps):
        if found.instability > STABLE:
            first = None
        elif first is None:
            first = found.step
        ends = (found.losses[0] + found.losses[-1]) / 2
        share = found.step / params.train.steps
        print(
            f"{found.step:8} {share:7.1%} {ends:13.5f} {max(found.losses):12.5f} {found.instability:12.1%}",
            flush=True,
        )
    if first is None:
        print(f"\nthe last of them is not stable (within {STABLE:.0%}); try later steps")
    else:
        print(
            f"\nstable (within {STABLE:.0%}) from step {first} on: `train.rewind_step: {first}` rewinds to it"
        )
    return 0

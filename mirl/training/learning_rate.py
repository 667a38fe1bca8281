"""Schedule of the learning rate."""

import math


def learning_rate(step: int, steps: int, warmup_steps: int, base: float) -> float:
    """Compute a step's learning rate: linear warm-up to `base`, then half a cosine towards 0 (MIR-L; here per step).

    `step` counts from 0; the rate is positive for every step below `steps`, so no step is wasted at rate 0.
    """
    if step < warmup_steps:
        return base * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return base / 2 * (1 + math.cos(math.pi * progress))

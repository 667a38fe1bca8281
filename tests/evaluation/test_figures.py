import warnings

import pandas as pd
import pytest

from mirl.evaluation import figures
from mirl.evaluation.figures import Curve, against_density


@pytest.mark.parametrize(
    ("degraded_db", "said"), [(20.0, "input 20.00 ↓"), (29.9, "input 29.90"), (55.0, "input 55.00 ↑")]
)
def test_an_input_far_below_or_above_is_an_arrow(degraded_db: float, said: str) -> None:
    curve = Curve(
        arm="a", colour=0, control=False, densities=[1.0, 0.5], values=[30.0, 30.2], collapsed=[False] * 2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a label far outside leaves no room for the axes
        drawn = against_density("mean", [curve], 30.0, degraded_db)
    assert f">{said}<" in drawn


def test_the_terms_of_a_loss_are_drawn_beside_it() -> None:
    history = pd.DataFrame(
        {"step": [10, 20], "loss": [0.5, 0.4], "loss/l1": [0.3, 0.3], "loss/balance": [0.2, 0.1]}
    )
    plain = figures.training("arm", [("r1", history[["step", "loss"]])], 0)
    several = figures.training("arm", [("r1", history)], 0)
    assert several.count("stroke-dasharray") == plain.count("stroke-dasharray") + 2

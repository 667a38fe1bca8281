import warnings

import pytest

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

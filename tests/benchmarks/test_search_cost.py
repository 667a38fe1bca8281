import pytest

from benchmarks.search_cost import ARMS, over_seeds, params_of, rounds_of
from mirl.study.forecast import forecast


@pytest.mark.parametrize("origin", ARMS)
def test_every_search_ends_at_a_tenth_and_the_authors_is_the_longest(origin: str) -> None:
    params = params_of(1, origin)
    found = {item.name: item for item in forecast(params)}
    arms = [arm for arm in ARMS[origin] if params.arms[arm].method == "imp"]
    steps = {arm: sum(found[key].steps for key in rounds_of(params, arm)) for arm in arms}
    for arm in arms:
        assert found[rounds_of(params, arm)[-1]].density == pytest.approx(0.1, abs=1e-4)
    assert steps["authors"] == max(steps.values())


def test_the_interval_over_seeds_is_students() -> None:
    # mean 1, deviation 1; t(0.975, 2) = 4.3027, over the root of 3: 2.4841
    assert over_seeds([0.0, 1.0, 2.0]) == "-1.48 .. +3.48"
    assert over_seeds([1.0]) == ""

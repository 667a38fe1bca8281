from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mirl.config import UserError
from mirl.evaluation.collapse import Finding
from mirl.evaluation.winning import WORDS, Difference, Interval, RuleSection, difference, verdict

RULE = RuleSection(tolerance_db=0.1, task_tolerance_db=0.3)


def table(gains: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"image": f"i{number}", "task": task, "protocol": "paper", "psnr_db": value}
        for task, values in gains.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def found(mean: tuple[float, float, float], **tasks: tuple[float, float, float]) -> Difference:
    def interval(low: float, middle: float, high: float) -> Interval:
        return Interval(mean_db=middle, low_db=low, high_db=high)

    return Difference(mean=interval(*mean), tasks={task: interval(*bounds) for task, bounds in tasks.items()})


def test_the_mean_is_of_the_tasks_means_and_the_bounds_lie_around_it() -> None:
    ours = table({"derain": [31.0, 32.0, 36.0, 33.0], "dehaze": [20.0, 20.5]})
    dense = table({"derain": [30.0, 30.0, 30.0, 30.0], "dehaze": [20.0, 20.0]})
    got = difference(ours, dense, RULE)
    assert got.tasks["derain"].mean_db == pytest.approx(3.0)
    assert got.tasks["dehaze"].mean_db == pytest.approx(0.25)
    assert got.mean.mean_db == pytest.approx(1.625)
    for interval in (got.mean, *got.tasks.values()):
        assert interval.low_db < interval.mean_db < interval.high_db
    assert got.tasks["derain"].low_db >= 1.0 and got.tasks["derain"].high_db <= 6.0


def test_pairs_are_compared_not_averages() -> None:
    """Images differ by 20 dB, the tickets by 0.2 on each: paired, the difference has no width."""
    dense = table({"derain": list(np.linspace(15, 35, 9))})
    got = difference(dense.assign(psnr_db=dense["psnr_db"] + 0.2).sample(frac=1, random_state=0), dense, RULE)
    assert (got.mean.low_db, got.mean.high_db) == (pytest.approx(0.2), pytest.approx(0.2))


def test_the_bounds_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    trials = {f"trial-{number}": list(generator.normal(0.1, 0.5, 40)) for number in range(300)}
    zero = {name: [0.0] * 40 for name in trials}
    got = difference(table(trials), table(zero), RULE)
    covered = sum(interval.low_db <= 0.1 <= interval.high_db for interval in got.tasks.values())
    assert 0.90 <= covered / 300 <= 0.98


def test_the_bootstrap_is_seeded() -> None:
    ours, dense = table({"derain": [1.0, 2.0, 4.0]}), table({"derain": [0.0, 0.0, 0.0]})
    assert difference(ours, dense, RULE) == difference(ours, dense, RULE)
    other = RULE.model_copy(update={"seed": 1, "resamples": 101})
    assert difference(ours, dense, RULE).mean != difference(ours, dense, other).mean


def test_tables_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="do not pair"):
        difference(table({"derain": [1.0, 2.0]}), table({"derain": [1.0]}), RULE)
    with pytest.raises(ValueError, match="do not pair"):
        difference(table({"derain": [1.0]}), table({"derain": [1.0]}), RuleSection(protocol="strict"))


GOOD = (0.0, 0.1, 0.2)


@pytest.mark.parametrize(
    ("got", "word"),
    [
        (found((0.01, 0.1, 0.2), derain=GOOD), "wins"),
        (found((0.0, 0.1, 0.2), derain=GOOD), "matches"),
        (found((-0.1, 0.0, 0.1), derain=GOOD), "matches"),
        (found((-0.11, 0.0, 0.1), derain=GOOD), "loses"),
        (found((0.5, 0.6, 0.7), derain=GOOD, dehaze=(-0.31, 0.0, 0.1)), "loses"),
        (found((0.5, 0.6, 0.7), derain=GOOD, dehaze=(-0.3, 0.0, 0.1)), "wins"),
    ],
)
def test_the_word_follows_from_the_lower_bounds(got: Difference, word: str) -> None:
    assert verdict(got, [], [], RULE).word == word
    assert word in WORDS


def test_a_task_that_loses_is_named() -> None:
    got = found((0.5, 0.6, 0.7), derain=GOOD, dehaze=(-0.9, -0.8, -0.7))
    assert "dehaze -0.80 dB [-0.90, -0.70]" in verdict(got, [], [], RULE).reason


@pytest.mark.parametrize("kind", ["layer gone", "path cut", "identity", "did not learn"])
def test_every_finding_is_a_collapse(kind: str) -> None:
    finding = Finding(kind=kind, layer="tail.weight", detail="gone")
    got = verdict(found((0.5, 0.6, 0.7), derain=GOOD), [finding, finding], [], RULE)
    assert got.word == "collapsed"
    assert got.reason == f"{kind}: tail.weight: gone (and 1 more)"


def test_a_task_that_the_parent_did_not_learn_either_is_no_collapse() -> None:
    rain, haze = (Finding(kind="did not learn", layer=task, detail="") for task in ("derain", "dehaze"))
    same = Finding(kind="identity", layer="derain", detail="")
    better = found((0.5, 0.6, 0.7), derain=GOOD)
    assert verdict(better, [rain], [rain], RULE).word == "wins"
    assert verdict(better, [haze], [rain], RULE).word == "collapsed"
    assert verdict(better, [same], [same], RULE).word == "collapsed"
    assert verdict(better, [same], [rain], RULE).word == "collapsed"


def test_a_rule_with_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UserError, match="known ones: paper, strict"):
        RuleSection.read({"protocol": "papers"}, "params.yaml")


def test_scores_of_a_study_go_straight_in(scores: Callable[..., pd.DataFrame]) -> None:
    got = difference(scores(6.0, 0.4), scores(6.0), RULE)
    assert verdict(got, [], [], RULE).word == "wins" and len(got.tasks) == 5

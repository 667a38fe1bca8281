from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from mirl.config import UserError
from mirl.evaluation.comparison import Candidate, ControlResult, assess, compare
from mirl.evaluation.winning import RuleSection

RULE = RuleSection()


def test_one_row_a_ticket_with_the_names_that_tracking_knows(study: list[Candidate]) -> None:
    table = compare(assess(study, RULE), RULE).set_index("name")
    assert list(table.index) == [candidate.name for candidate in study]
    known = {"density/prunable", "density/all", "params/kept", "macs_g", "ticket_mb", "train_seconds"}
    known |= {
        f"{metric}/{task}" for metric in ("psnr_db", "ssim") for task in ("mean", "derain", "denoise_50")
    }
    assert known <= set(table.columns)
    assert table.loc["global-r3", "search/steps"] == 8000 and table.loc["dense", "search/steps"] == 2000
    assert table.loc["random-49", "search/dense_trainings"] == 2
    assert table.loc["global-r3", "device"] == "two threads"
    assert table.loc["global-r3", "verdict"] == "wins"
    assert table.loc["global-r3", "difference_db"] == pytest.approx(0.53, abs=0.05)
    assert table.loc["global-r6", "verdict"] == "collapsed"
    assert "layer gone: encoder.2.depth.weight" in str(table.loc["global-r6", "collapse"])
    assert table.loc["dense", "verdict"] == "reference" and table.loc["dense", "difference_db"] == 0


def test_a_ticket_stands_beside_the_controls_of_its_density(study: list[Candidate]) -> None:
    beats = {entry.candidate.name: entry.beats_controls for entry in assess(study, RULE)}
    assert beats["global-r2"] is ControlResult.PASSED
    assert beats["layerwise-r2"] is ControlResult.FAILED  # one-shot pruning is as good there
    assert beats["global-r1"] is None  # no control at 70 %
    assert beats["random-49"] is None and beats["oneshot-49"] is None  # a control has none


@pytest.mark.parametrize(
    ("density", "beats"),
    [(0.4019, ControlResult.PASSED), (0.4021, None), (0.3981, ControlResult.PASSED), (0.3979, None)],
)
def test_the_same_density_means_within_half_a_percent(
    ticket: Callable[..., Candidate],
    scores: Callable[..., pd.DataFrame],
    density: float,
    beats: ControlResult | None,
) -> None:
    dense = ticket("dense", "dense", "dense", 0, 1.0, scores(6.0))
    ours = ticket("a", "a", "imp", 1, 0.4, scores(6.0, 0.3))
    control = ticket("r", "r", "random", 1, density, scores(6.0, -1.0))
    assert assess([dense, ours, control], RULE)[1].beats_controls is beats


@pytest.mark.parametrize(
    ("gain_db", "longer_steps", "ticket_steps", "beats"),
    [
        (0.25, 300, 300, ControlResult.PASSED),  # 0.05 dB below is a match
        (0.1, 300, 300, ControlResult.FAILED),
        (0.1, 301, 300, None),  # it was trained for longer than the ticket
        (0.1, 300, None, ControlResult.UNKNOWN),
        (0.1, None, 300, ControlResult.UNKNOWN),
        (0.25, None, None, ControlResult.PASSED),  # a match whichever was trained for longer
    ],
)
def test_a_ticket_that_was_trained_on_has_to_match_the_reference_trained_on(
    ticket: Callable[..., Candidate],
    scores: Callable[..., pd.DataFrame],
    gain_db: float,
    longer_steps: int | None,
    ticket_steps: int | None,
    beats: ControlResult | None,
) -> None:
    dense = ticket("dense", "dense", "dense", 0, 1.0, scores(6.0))
    longer = ticket("longer", "longer", "replay", 1, 1.0, scores(6.0, 0.3))
    ours = ticket("a", "a", "imp", 1, 0.4, scores(6.0, gain_db))
    known = [replace(longer, weight_steps=longer_steps), replace(ours, weight_steps=ticket_steps)]
    assessment = assess([dense, *known], RULE)[2]
    assert assessment.verdict.word == "wins" and assessment.beats_controls is beats
    assert assessment.controls == ({} if beats is None else {"longer": beats})


def test_a_control_that_a_ticket_loses_to_counts_before_one_of_which_it_is_not_known(
    ticket: Callable[..., Candidate], scores: Callable[..., pd.DataFrame]
) -> None:
    dense = ticket("dense", "dense", "dense", 0, 1.0, scores(6.0))
    longer = ticket("longer", "longer", "replay", 1, 1.0, scores(6.0, 0.9))
    chance = ticket("r", "r", "random", 1, 0.4, scores(6.0, 0.9))
    ours = ticket("a", "a", "imp", 1, 0.4, scores(6.0, 0.3))
    found = assess([dense, longer, chance, ours], RULE)[3]
    assert found.controls == {"longer": ControlResult.UNKNOWN, "r": ControlResult.FAILED}
    assert found.beats_controls is ControlResult.FAILED
    table = compare(assess([dense, longer, ours], RULE), RULE).set_index("name")
    assert table.loc["a", "beats_controls"] == "unknown" and table.loc["dense", "beats_controls"] == ""


def test_what_the_metrics_say_of_the_training_is_not_believed(
    ticket: Callable[..., Candidate], scores: Callable[..., pd.DataFrame]
) -> None:
    dense = ticket("dense", "dense", "dense", 0, 1.0, scores(6.0))
    longer = replace(ticket("longer", "longer", "replay", 1, 1.0, scores(6.0, 0.9)), weight_steps=300)
    ours = replace(ticket("a", "a", "imp", 1, 0.4, scores(6.0, 0.3)), weight_steps=300)
    for steps in (0, 9000):
        told = [replace(one, metrics={**one.metrics, "weight_steps": steps}) for one in (longer, ours)]
        assert assess([dense, *told], RULE)[2].beats_controls is ControlResult.FAILED


def test_the_reference_has_no_controls_though_one_may_keep_as_much(
    ticket: Callable[..., Candidate], scores: Callable[..., pd.DataFrame]
) -> None:
    dense = ticket("dense", "dense", "dense", 0, 1.0, scores(6.0))
    longer = ticket("longer", "longer", "replay", 2, 1.0, scores(6.0, 0.3))
    assert [entry.beats_controls for entry in assess([dense, longer], RULE)] == [None, None]


def test_without_its_reference_nothing_can_be_judged(study: list[Candidate]) -> None:
    with pytest.raises(UserError, match="`dense` was not scored"):
        assess(study[1:], RULE)
    with pytest.raises(UserError, match="scored: none"):
        assess([], RULE)


def test_another_reference_can_be_named(study: list[Candidate]) -> None:
    assessments = {entry.candidate.name: entry for entry in assess(study, RuleSection(reference="global-r3"))}
    assert assessments["global-r3"].verdict.word == "reference"
    assert assessments["dense"].verdict.word == "loses"

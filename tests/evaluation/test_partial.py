"""A study whose tickets serve different tasks: each is compared on its own, and nothing of the report breaks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mirl.config import UserError
from mirl.evaluation import views
from mirl.evaluation.collapse import Finding
from mirl.evaluation.comparison import Candidate, ControlResult, assess, compare
from mirl.evaluation.report import curves, write_report
from mirl.evaluation.winning import RuleSection
from mirl.promotion import PolicySection, decide

POLICY = PolicySection()
NOISE = ["denoise_15", "denoise_25", "denoise_50"]
OWN = {"derain": "rainy", "dehaze": "rainy"} | dict.fromkeys(NOISE, "dense")

Make = Callable[..., Candidate]
Scores = Callable[..., pd.DataFrame]


def only(scores: pd.DataFrame, *tasks: str) -> pd.DataFrame:
    return scores[scores["task"].isin(tasks)]


@pytest.fixture
def mixed(ticket: Make, scores: Scores) -> list[Candidate]:
    """Two references, a ticket that serves all tasks, one that serves two, one that serves one and its control."""
    rain = only(scores(6.0, 0.5), "derain", "dehaze")
    return [
        ticket("dense", "dense", "dense", 0, 1.0, scores(6.0)),
        ticket("rainy", "rainy", "dense", 0, 1.0, only(scores(6.0, 0.2), "derain", "dehaze")),
        ticket("whole", "whole", "imp", 1, 0.4, scores(6.0, 0.3)),
        ticket("two", "two", "imp", 1, 0.2, rain),
        ticket("one", "one", "imp", 1, 0.1, only(scores(6.0, 0.1), "derain")),
        ticket("chance", "chance", "random", 1, 0.1, only(scores(6.0, -1.0), "derain")),
    ]


def test_a_ticket_is_compared_on_the_tasks_that_it_serves(mixed: list[Candidate]) -> None:
    found = {entry.candidate.name: entry for entry in assess(mixed, POLICY)}
    assert found["two"].tasks == ["dehaze", "derain"] and found["two"].partial
    assert found["two"].verdict.word == "partial"
    assert found["two"].verdict.reason.startswith("serves only dehaze, derain, where it wins: mean +0.4")
    assert found["two"].difference.mean.mean_db == pytest.approx(0.5, abs=0.05)
    assert found["one"].beats_controls is ControlResult.PASSED and not found["whole"].partial
    assert found["two"].beats_controls is None  # no control of its density


def test_the_mean_of_a_partial_ticket_is_beside_that_of_the_reference_over_its_tasks(
    mixed: list[Candidate],
) -> None:
    dense, _, _, two, *_ = assess(mixed, POLICY)
    same = sum(dense.quality[f"psnr_db/{task}"] for task in two.tasks) / 2
    assert two.quality["psnr_db/mean"] - same == pytest.approx(two.difference.mean.mean_db)


def test_a_partial_ticket_is_shown_and_never_promoted(mixed: list[Candidate]) -> None:
    assessments = assess(mixed, POLICY)
    decision = decide(assessments, None, POLICY)
    assert decision.ticket == "whole"
    said = "two (20.0 %): not admitted: is partial, serves only dehaze, derain, where it wins"
    assert any(reason.startswith(said) for reason in decision.reasons)
    table = compare(assessments, POLICY).set_index("name")
    assert table.loc["two", "tasks"] == "dehaze derain" and table.loc["two", "verdict"] == "partial"
    two: Any = table.loc["two"]
    assert pd.isna(two["psnr_db/denoise_15"]) and two["psnr_db/derain"] > 0
    assert "tasks" not in compare(assess([mixed[0], mixed[2]], POLICY), POLICY)
    alone = decide(assess([mixed[0], mixed[3]], POLICY), None, POLICY)
    assert alone.ticket is None and "(of 1: 1 partial)" in alone.reasons[0]


def test_a_partial_ticket_can_have_collapsed(mixed: list[Candidate], study: list[Candidate]) -> None:
    gone = replace(mixed[3], findings=[study[6].findings[0]])
    assert assess([mixed[0], mixed[2], gone], POLICY)[2].verdict.word == "collapsed"


@pytest.mark.parametrize("reference", ["dense", OWN])
def test_the_whole_report_is_written(
    mixed: list[Candidate], reference: str | dict[str, str], tmp_path: Path
) -> None:
    policy = PolicySection(reference=reference)
    for order in (mixed, mixed[::-1]):  # whichever ticket comes first
        assessments = assess(order, policy)
        write_report(tmp_path, assessments, decide(assessments, None, policy).plain(), policy, "demo")
        text = (tmp_path / "index.html").read_text()
        assert '<small class="muted">dehaze, derain</small>' in text and "<td>nan" not in text
        assert 'class="badge reference" title="serves only' in text and "A <b>partial</b> ticket" in text
        assert list(curves(assessments, policy)["whole"]["name"])[-1] == "whole"
        assert not any(name in curves(assessments, policy) for name in ("two", "one", "chance"))
        assert views.image_counts(assessments, policy) == dict.fromkeys(views.tasks(assessments), 12)


def test_by_work_the_page_and_the_table_say_the_work(mixed: list[Candidate], tmp_path: Path) -> None:
    policy = PolicySection(cost="work")
    assessments = assess(mixed, policy)
    decision = decide(assessments, None, policy)
    write_report(tmp_path, assessments, decision.plain(), policy, "demo")
    text = (tmp_path / "index.html").read_text()
    assert "<th>work</th>" in text and "<dt>work</dt><dd><b>40.0 %</b>" in text and "Work, by which" in text
    assert pd.read_csv(tmp_path / "comparison.csv")["work/share"][2] == pytest.approx(0.4)


def test_a_ticket_that_is_told_its_task_says_so(mixed: list[Candidate], tmp_path: Path) -> None:
    assert "told" not in compare(assess(mixed, POLICY), POLICY)
    mixed[2] = replace(mixed[2], told=True)
    assessments = assess(mixed, POLICY)
    write_report(tmp_path, assessments, decide(assessments, None, POLICY).plain(), POLICY, "demo")
    text = (tmp_path / "index.html").read_text()
    assert text.count('<small class="muted">told its task</small>') == 1 and "restores blindly" in text
    assert list(pd.read_csv(tmp_path / "comparison.csv")["told"]) == ["no", "no", "yes", "no", "no", "no"]


def test_nothing_but_partial_tickets_is_a_study_too(mixed: list[Candidate], tmp_path: Path) -> None:
    policy = PolicySection(reference=OWN)
    parts = [replace(mixed[0], scores=only(mixed[0].scores, *NOISE)), mixed[1], mixed[3]]
    assessments = assess(parts, policy)
    assert [entry.partial for entry in assessments] == [True] * 3
    decision = decide(assessments, None, policy)
    write_report(tmp_path, assessments, decision.plain(), policy, "demo")
    assert decision.reasons[0].startswith("Nothing is promoted: no ticket matches the reference at density")


def test_each_task_can_have_a_reference_of_its_own(mixed: list[Candidate]) -> None:
    policy = PolicySection(reference=OWN)
    found = {entry.candidate.name: entry for entry in assess(mixed, policy)}
    assert found["two"].difference.mean.mean_db == pytest.approx(0.3, abs=0.05)
    assert found["whole"].difference.tasks["derain"].mean_db == pytest.approx(0.1, abs=0.05)
    assert found["whole"].difference.tasks["denoise_15"].mean_db == pytest.approx(0.3, abs=0.05)
    assert [found[name].verdict.word for name in ("dense", "rainy")] == ["reference"] * 2
    decision = decide(list(found.values()), None, policy)
    assert "wins against the reference" in decision.reasons[0]
    one = dict.fromkeys(OWN, "dense")
    left, right = (compare(assess(mixed, rule), rule) for rule in (RuleSection(), RuleSection(reference=one)))
    pd.testing.assert_frame_equal(left, right)


def test_a_finding_of_any_reference_means_that_nothing_is_promoted(
    mixed: list[Candidate], study: list[Candidate]
) -> None:
    policy = PolicySection(reference=OWN)
    mixed[1] = replace(mixed[1], findings=study[6].findings)
    decision = decide(assess(mixed, policy), None, policy)
    assert decision.reasons[0].startswith("Nothing is promoted: rainy, which the others are compared with")


def test_what_a_reference_did_not_learn_counts_on_its_own_tasks_only(mixed: list[Candidate]) -> None:
    policy = PolicySection(reference=OWN)

    def with_unlearned(task: str) -> list[Candidate]:
        finding = Finding(kind="did not learn", layer=task, detail="no better than its input")
        return [replace(c, findings=[finding]) if c.name in ("dense", "whole") else c for c in mixed]

    elsewhere = decide(found := assess(with_unlearned("derain"), policy), None, policy)
    assert found[2].verdict.word == "collapsed"  # rainy, the reference on derain, has learned it
    assert "no ticket matches" in elsewhere.reasons[0]
    own = decide(found := assess(with_unlearned("denoise_15"), policy), None, policy)
    assert found[2].verdict.word == "wins" and "dense, which the others" in own.reasons[0]


def test_other_images_of_a_common_task_are_named(mixed: list[Candidate]) -> None:
    mixed[3] = replace(mixed[3], scores=mixed[3].scores[mixed[3].scores["image"] != "image-03"])
    said = "ticket `two` does not compare with dense: .* do not pair; only one has dehaze/image-03, derain/image-03"
    with pytest.raises(UserError, match=said):
        assess(mixed, POLICY)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ({"derain": "dense"}, "ticket `dense` was scored on dehaze, which has no reference that was; let"),
        (dict.fromkeys(OWN, "rainy"), "ticket `dense` was scored on denoise_15, which has no reference"),
        (OWN | {"derain": "wet"}, "the reference ticket `wet` was not scored"),
        (
            "rainy",
            "ticket `dense` was scored on denoise_15, which has no reference that was; let `promote.ref",
        ),
    ],
)
def test_every_task_needs_a_reference(
    mixed: list[Candidate], reference: str | dict[str, str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        assess(mixed, RuleSection(reference=reference))

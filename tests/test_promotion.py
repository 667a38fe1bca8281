import json
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import pytest

from mirl.config import UserError
from mirl.evaluation.collapse import Finding
from mirl.evaluation.comparison import Assessment, Candidate, assess, compare
from mirl.evaluation.scoring import METRICS
from mirl.methods import role_of
from mirl.promotion import Champion, Decision, PolicySection, decide

POLICY = PolicySection(max_density=0.5)


def ticket(
    name: str, density: float, psnr_db: float, method: str = "imp", findings: Sequence[Finding] = ()
) -> Candidate:
    rows = [
        {
            "image": f"i{number}",
            "task": task,
            "protocol": "paper",
            **dict.fromkeys(METRICS, 0.5),
            "psnr_db": psnr_db + number,
        }
        for task in ("derain", "dehaze")
        for number in range(3)
    ]
    return Candidate(
        name=name, arm=name, method=method, role=role_of(method), round=1, sha256=f"sha-{name}", findings=findings,
        metrics={"density/prunable": density, "density/all": density}, scores=pd.DataFrame(rows),
    )  # fmt: skip


DENSE = ticket("dense", 1.0, 26.0, "dense")
UNLEARNED = Finding(
    kind="did not learn", layer="derain", detail="its output is no better than its input (-0.43 dB)"
)
GONE = Finding(kind="layer gone", layer="tail.weight", detail="none of its 8 weights is kept")


def decided(
    *tickets: Candidate,
    champion: Champion | None = None,
    policy: PolicySection = POLICY,
    parent: Candidate = DENSE,
) -> Decision:
    return decide(assess([parent, *tickets], policy), champion, policy)


def test_the_sparsest_admitted_ticket_is_promoted() -> None:
    found = decided(ticket("a", 0.4, 26.5), ticket("b", 0.3, 26.0), ticket("c", 0.2, 25.0))
    assert found.ticket == "b" and found.sha256 == "sha-b"
    assert found.reasons[0].startswith("b is the one to promote: at 30.0 % density it matches dense")
    assert "the sparsest of 2 admitted" in found.reasons[0]
    assert [reason.split(" ")[0] for reason in found.reasons[1:]] == ["dense", "a", "b", "c"]
    assert "c (20.0 %): not admitted: loses" in found.reasons[4]


def test_of_equally_sparse_tickets_the_better_then_the_first_by_name() -> None:
    assert decided(ticket("a", 0.3, 26.1), ticket("b", 0.3, 26.2)).ticket == "b"
    assert decided(ticket("b", 0.3, 26.2), ticket("a", 0.3, 26.2)).ticket == "a"


@pytest.mark.parametrize(
    ("rival", "why"),
    [
        (ticket("x", 0.1, 25.0), "loses"),
        (ticket("x", 0.1, 27.0, findings=[GONE]), "has collapsed, layer gone: tail.weight"),
        (ticket("x", 0.1, 27.0, method="oneshot"), "tickets by `oneshot` never are"),
        (ticket("x", 0.1, 27.0, method="random"), "tickets by `random` never are"),
        (ticket("x", 0.1, 27.0, method="dense"), "tickets by `dense` never are"),
        (ticket("x", 0.6, 27.0), "above the ceiling of 50 %"),
    ],
)
def test_who_is_never_promoted_however_sparse(rival: Candidate, why: str) -> None:
    found = decided(rival, ticket("good", 0.4, 26.5))
    assert found.ticket == "good"
    assert why in found.reasons[2]
    alone = decided(rival)
    assert alone.ticket is None and alone.sha256 == ""
    assert alone.reasons[0].startswith("Nothing is promoted")


def test_a_parent_that_fails_is_nothing_to_prune() -> None:
    failing = ticket("dense", 1.0, 26.0, method="dense", findings=[UNLEARNED])
    found = decided(ticket("a", 0.3, 27.0), parent=failing)
    assert found.ticket is None
    assert found.reasons[0].startswith(
        "Nothing is promoted: dense, which the others are compared with, fails itself (derain"
    )


def test_nothing_to_promote_is_an_answer() -> None:
    found = decided()
    assert found.ticket is None
    assert "no ticket is of a method that may be" in found.reasons[0]
    json.dumps(found.plain(), allow_nan=False)


def test_a_ticket_has_to_beat_its_controls_unless_told_otherwise() -> None:
    study = [ticket("a", 0.3, 26.2), ticket("r", 0.3, 26.3, method="random"), ticket("b", 0.4, 26.2)]
    found = decided(*study)
    assert found.ticket == "b" and "does not hold its ground against r." in found.reasons[2]
    assert decided(*study, policy=PolicySection(beat_controls=False)).ticket == "a"


def test_a_ticket_is_not_admitted_while_it_is_not_known_whether_it_has_to_match_a_control() -> None:
    """The control would have been skipped when the metrics that should tell it were lost."""
    longer, ours = ticket("longer", 1.0, 26.5, method="replay"), ticket("a", 0.3, 26.2)
    known = {"longer": replace(longer, weight_steps=300), "a": replace(ours, weight_steps=200)}
    assert decided(*known.values()).ticket == "a"  # the control was trained for longer
    found = decided(longer, known["a"])
    assert found.ticket is None and found.reasons[-1] == (
        "a (30.0 %): not admitted: wins, but how long the weights of longer were trained is not known, so it may have to "
        "match longer, which it does not."
    )
    found = decided(known["longer"], ours)
    assert "wins, but how long its weights were trained is not known" in found.reasons[-1]
    assert decided(longer, ours, policy=PolicySection(beat_controls=False)).ticket == "a"
    assert decided(longer, ticket("b", 0.3, 26.45)).ticket == "b"  # it matches the control anyway


@pytest.mark.parametrize(
    ("champion", "ticket_name"),
    [
        (None, "a"),
        (Champion(sha256="sha-a", cost=0.3, psnr_db=27.04), "a"),
        (Champion(sha256="old", cost=0.4, psnr_db=27.0), "a"),
        (Champion(sha256="old", cost=0.3, psnr_db=26.9), "a"),
        (Champion(sha256="old", cost=0.3, psnr_db=26.95), None),
        (Champion(sha256="old", cost=0.2, psnr_db=20.0), None),
    ],
)
def test_the_champion_stays_unless_sparser_or_better(
    champion: Champion | None, ticket_name: str | None
) -> None:
    found = decided(ticket("a", 0.3, 26.04), champion=champion)
    assert found.ticket == ticket_name
    assert ticket_name or "the champion stays" in found.reasons[0]


BY_WORK = PolicySection(cost="work", max_work=0.6)


def working(one: Candidate, **metrics: float) -> Candidate:
    return replace(one, metrics={**one.metrics, **metrics})


def test_by_work_the_ticket_that_does_least_is_promoted() -> None:
    dense = working(DENSE, macs_g=4.0, macs_dense_g=4.0)
    sparse = working(ticket("sparse", 0.2, 26.5), macs_g=2.2, macs_dense_g=4.0)
    quick = working(ticket("quick", 0.9, 26.5), macs_g=2.0, macs_dense_g=4.0)
    busy = working(ticket("busy", 0.1, 26.5), macs_g=2.6, macs_dense_g=4.0)
    found = decided(sparse, quick, busy, parent=dense, policy=BY_WORK)
    assert found.ticket == "quick"
    assert found.reasons[0].startswith("quick is the one to promote: at 50.0 % work it wins against dense")
    assert found.reasons[0].endswith("the cheapest of 2 admitted.")
    said = "busy (65.0 % work): not admitted: wins, but its work 65.0 % is above the ceiling of 60 %."
    assert found.reasons[-1] == said
    assert decided(sparse, quick, busy, parent=dense).ticket == "busy"
    measured = working(sparse, **{"work/share": 0.3})  # routed image by image
    assert decided(measured, quick, busy, parent=dense, policy=BY_WORK).ticket == "sparse"
    none = decided(busy, parent=dense, policy=BY_WORK)
    assert "no ticket matches dense at work at most 60 %" in none.reasons[0]
    assert list(compare(assess([dense, quick], BY_WORK), BY_WORK)["work/share"]) == [1.0, 0.5]
    standing = Champion(sha256="old", cost=0.5, psnr_db=27.5)
    stays = decided(quick, parent=dense, policy=BY_WORK, champion=standing)
    assert "has to be cheaper or better (50.0% against 50.0% work" in stays.reasons[0]


def test_by_work_a_control_stands_beside_a_ticket_that_does_as_much() -> None:
    dense = working(DENSE, macs_g=4.0, macs_dense_g=4.0)
    ours = working(ticket("a", 0.3, 26.2), macs_g=2.0, macs_dense_g=4.0)
    control = working(ticket("r", 0.2, 26.3, method="random"), macs_g=2.0, macs_dense_g=4.0)
    assert decided(ours, control, parent=dense).ticket == "a"
    assert decided(ours, control, parent=dense, policy=BY_WORK).ticket is None


def test_work_that_is_not_known_is_one_sentence() -> None:
    with pytest.raises(UserError, match="`promote.cost` is work, but ticket `dense` does not say how many"):
        decided(policy=BY_WORK)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"max_work": 0.3},
            "`max_work` counts for nothing while `cost` is weights; name `max_density` instead",
        ),
        ({"max_density": 0.3, "cost": "work"}, "`max_density` counts for nothing while `cost` is work"),
        ({"cost": "joules"}, "`cost` is 'joules', but"),
    ],
)
def test_a_ceiling_that_counts_for_nothing_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        PolicySection.read(values, "params.yaml")


def test_deciding_changes_nothing() -> None:
    assessments: list[Assessment] = assess([DENSE, ticket("a", 0.3, 26.5)], POLICY)
    assert decide(assessments, None, POLICY) == decide(list(assessments), None, POLICY)


def test_a_policy_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="max_density"):
        PolicySection.read({"max_density": 1.5}, "params.yaml")
    with pytest.raises(UserError, match="did you mean `tolerance_db`"):
        PolicySection.read({"tolerance": 0.1}, "params.yaml")
    with pytest.raises(UserError, match="`methods` is no key any more: each method says"):
        PolicySection.read({"methods": ["imp"]}, "params.yaml")

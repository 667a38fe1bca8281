import json
from collections.abc import Sequence

import pandas as pd
import pytest

from mirl.config import UserError
from mirl.evaluation.collapse import Finding
from mirl.evaluation.comparison import Assessment, Candidate, assess
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


@pytest.mark.parametrize(
    ("champion", "ticket_name"),
    [
        (None, "a"),
        (Champion(sha256="sha-a", density=0.3, psnr_db=27.04), "a"),
        (Champion(sha256="old", density=0.4, psnr_db=27.0), "a"),
        (Champion(sha256="old", density=0.3, psnr_db=26.9), "a"),
        (Champion(sha256="old", density=0.3, psnr_db=26.95), None),
        (Champion(sha256="old", density=0.2, psnr_db=20.0), None),
    ],
)
def test_the_champion_stays_unless_sparser_or_better(
    champion: Champion | None, ticket_name: str | None
) -> None:
    found = decided(ticket("a", 0.3, 26.04), champion=champion)
    assert found.ticket == ticket_name
    assert ticket_name or "the champion stays" in found.reasons[0]


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

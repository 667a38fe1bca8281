"""The report of a made-up study stays as it is, to the letter: a new kind of ticket adds nothing to a study without one.

Numbers are rounded, and the page's drawings and pictures left out: processors and libraries differ in them.
"""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mirl.evaluation.comparison import Candidate, assess
from mirl.evaluation.report import write_report
from mirl.promotion import PolicySection, decide
from tests.evaluation.conftest import made_up_scores, made_up_study, made_up_ticket

DIGESTS = {
    "comparison": "6924803d8aac0738af809a67985e2114f565cc5f5e15bd7521517544eccc3651",
    "decision": "a2cdbdeb6b73f2af77706b24d258e89774ea6e8cf4b042647c7748c7aba08995",
    "page": "a51f1c60acaa01b269e47469f50c2021282ba33fe38c99bef690bb776753df59",
    "plots": "de70e97f78d4ad6e2e65de6f5e9cb0df74a5ca6acf9bf4aba8fbac37524cfecf",
}


def trained_on() -> list[Candidate]:
    """The made-up study with two controls that are the reference trained on."""
    found = made_up_study()
    for round_, gain_db in ((1, 0.3), (2, 0.6)):
        scores = made_up_scores(6.0, gain_db)
        found.append(made_up_ticket(f"replay-r{round_}", "longer", "replay", round_, 1.0, scores))
    return [_trained(entry) for entry in found]


def _trained(entry: Candidate) -> Candidate:
    steps = 2000 * (1 + entry.round) if entry.arm in ("layerwise", "longer") else 2000
    return replace(entry, metrics={**entry.metrics, "weight_steps": steps}, weight_steps=steps)


def rounded(path: Path) -> str:
    """A table whose numbers have six digits."""
    return pd.read_csv(path).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def written(folder: Path) -> dict[str, str]:
    """What the stage `compare` leaves, as text."""
    policy = PolicySection()
    assessments = assess(trained_on(), policy)
    write_report(folder, assessments, decide(assessments, None, policy).plain(), policy, "demo")
    page = re.sub(r"<svg role=.*?</svg>", "", (folder / "index.html").read_text(), flags=re.DOTALL)
    return {
        "comparison": rounded(folder / "comparison.csv"),
        "decision": (folder / "decision.json").read_text(),
        "page": re.sub(r"data:image/webp;base64,[\w+/=]+", "", page),
        "plots": "".join(rounded(path) for path in sorted((folder / "plots").glob("*.csv"))),
    }


def test_a_report_stays_to_the_letter(tmp_path: Path) -> None:
    texts = written(tmp_path)
    assert json.loads(texts["decision"])["ticket"] == "global-r4"
    assert "does not hold its ground against replay-r1" in texts["decision"]
    assert {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()} == DIGESTS

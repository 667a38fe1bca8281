from collections.abc import Callable
from pathlib import Path

import pandas as pd

from flows.tracking.facts import read_facts


def test_what_a_ticket_has_cost(
    root: Path, make_ticket: Callable[..., Path], make_report: Callable[..., Path]
) -> None:
    folder = make_ticket()
    before = read_facts(root, "global-r1")
    assert "device" not in before.tags and not any(key.startswith("search/") for key in before.metrics)
    (folder / "machine.json").write_text('{"device": "2 threads of a CPU"}')
    table = make_report("global-r1") / "comparison.parquet"
    searched = pd.read_parquet(table).assign(**{"search/steps": [40, 80], "search/train_joules": [7.0, None]})
    searched.to_parquet(table)
    facts = read_facts(root, "global-r1")
    assert facts.tags["device"] == "2 threads of a CPU" and "energy" not in facts.tags
    assert facts.metrics["search/steps"] == 80 and "search/train_joules" not in facts.metrics
    assert facts.metrics["train_seconds"] == 12.5 and facts.digest != before.digest

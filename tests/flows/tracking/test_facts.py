from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from flows.tracking.facts import read_facts
from mirl.sparsity.masks import Masks
from mirl.tickets import reading, writing
from mirl.tickets.routing import ByTask


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


def test_a_ticket_with_several_masks_has_the_same_facts(root: Path, make_ticket: Callable[..., Path]) -> None:
    path = make_ticket() / "ticket.safetensors"
    one = read_facts(root, "global-r1")
    ticket, seen = reading.read(path), {one.digest}
    for names in (["easy", "hard"], ["easy", "medium"]):
        masks = Masks(dict.fromkeys(names, ticket.mask))
        routing = ByTask(kind="task", tasks={"derain": names[0], "dehaze": names[1]})
        writing.write(replace(ticket, masks=masks, routing=routing), path)
        several = read_facts(root, "global-r1")
        assert (several.params, several.tags, several.metrics) == (one.params, one.tags, one.metrics)
        assert several.digest not in seen
        seen.add(several.digest)

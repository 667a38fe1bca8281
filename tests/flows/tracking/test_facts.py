import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.tracking.facts import read_facts
from flows.tracking.importing import sync
from flows.tracking.store import Store
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
    added: dict[str, Any] = {"search/steps": [40, 80], "search/train_joules": [7.0, None]}
    searched = pd.read_parquet(table).assign(**added)
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


def test_a_partial_ticket_has_the_numbers_of_its_tasks_and_no_others(
    root: Path,
    make_ticket: Callable[..., Path],
    make_scores: Callable[..., Path],
    make_report: Callable[..., Path],
) -> None:
    make_ticket()
    scores = make_scores() / "metrics.json"
    numbers = {"psnr_db/derain": 30.0, "psnr_db/mean": 30.0, "ssim/mean": float("nan")}
    scores.write_text(json.dumps(numbers))
    table = make_report(None) / "comparison.parquet"
    said: dict[str, Any] = {
        "verdict": ["reference", "partial"],
        "beats_controls": ["", "unknown"],
        "tasks": ["derain dehaze", "derain"],
    }
    gaps: dict[str, Any] = {"search/steps": [1.0, 2.0], "psnr_db/dehaze": [20.0, None]}
    pd.read_parquet(table).assign(**said, **gaps).to_parquet(table)
    facts = read_facts(root, "global-r1")
    assert facts.tags["verdict"] == "partial" and facts.tags["winning"] == "no"
    assert (
        facts.metrics["psnr_db/mean"] == 30.0 and not {"ssim/mean", "psnr_db/dehaze"} & facts.metrics.keys()
    )
    assert [sync(root, ["global-r1"])[0].what for _ in range(2)] == ["made", "there"]


def test_a_ticket_of_several_requirements_names_its_own_and_shows_who_uses_whose_weights(
    root: Path, make_ticket: Callable[..., Path]
) -> None:
    path = make_ticket() / "ticket.safetensors"
    assert "requirement" not in read_facts(root, "global-r1").tags
    ticket = reading.read(path)
    lineage = ticket.lineage.model_copy(
        update={"settings": ticket.lineage.settings | {"tasks": ["derain", "dehaze"]}}
    )
    masks = Masks({"denoise_15": ticket.mask, "derain-dehaze": ticket.mask})
    tasks = {"denoise_15": "denoise_15", "derain": "derain-dehaze", "dehaze": "derain-dehaze"}
    routing = ByTask(kind="task", tasks=tasks)
    writing.write(replace(ticket, masks=masks, routing=routing, lineage=lineage), path)
    assert read_facts(root, "global-r1").tags["requirement"] == "derain dehaze"
    (run,) = [done.run_id for done in sync(root, ["global-r1"])]
    client = Store(root).client
    drawn = Path(client.download_artifacts(run, "sharing.svg")).read_text()
    assert "global-r1: who uses whose weights" in drawn and "derain-dehaze" in drawn
    assert client.get_run(run).info.run_name == "global-r1"
    assert sync(root, ["global-r1"])[0].what == "there"


@pytest.mark.parametrize(("beats", "winning"), [("", "yes"), ("yes", "yes"), ("no", "no"), ("unknown", "no")])
def test_a_winning_ticket_is_one_that_beats_its_controls_for_certain(
    root: Path, make_ticket: Callable[..., Path], make_report: Callable[..., Path], beats: str, winning: str
) -> None:
    make_ticket()
    table = make_report("global-r1") / "comparison.parquet"
    pd.read_parquet(table).assign(beats_controls=["", beats]).to_parquet(table)
    assert read_facts(root, "global-r1").tags["winning"] == winning

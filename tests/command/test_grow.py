"""`mirl grow`: a task more for a ticket without its study, on pictures of one's own; the others stay as they are."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mirl.command.main import main
from mirl.config import UserError
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.study import growth, stages
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets import reading, writing
from mirl.tickets.pack import packed
from mirl.tickets.routing import ByTask, Static
from mirl.tickets.ticket import Ticket
from tests.study.conftest import VALUES, photograph, write_study

ARM = {"method": "png", "goal": 0.3, "structure": {"kind": "blocks", "outputs": 2, "inputs": 2, "least": 1}}
TRAIN = {**VALUES["train"], "seed": 7}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of one requirement, which somebody else's study has made."""
    root = tmp_path_factory.mktemp("elsewhere")
    write_study(root)
    rounds = {
        "dense": {"arm": "dense", "after": "init"},
        "a-r1": {"arm": "png", "after": "init", "task": "denoise_25"},
        "a-r2": {"arm": "png", "after": "a-r1", "task": "denoise_25"},
    }
    values = VALUES | {"arms": {"dense": {"method": "dense"}, "png": ARM}, "rounds": rounds}
    values["network"] = VALUES["network"] | {"seed": 5}
    study = Study(root=root, params=Params.read(values, "params.yaml"))
    for stage, key in (("prepare", ""), ("init", ""), ("round", "a-r1"), ("round", "a-r2")):
        STAGES[stage](study, key)
    return study.files.ticket("a-r2") / "ticket.safetensors"


@pytest.fixture
def here(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user: the ticket's file, stained pictures beside clean ones, and what growing needs to know."""
    shutil.copyfile(shipped, tmp_path / "shipped.safetensors")
    for number in range(3):
        clean = Image.fromarray(photograph(50 + number))
        for part, picture in (("target", clean), ("input", clean.point(lambda value: value // 2 + 60))):
            (tmp_path / "mine" / part).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "mine" / part / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    change(arms={"png": ARM})
    return tmp_path


def change(photographs: bool = False, **sections: Any) -> None:
    clean = {"kind": "folder", "path": "target", "split": "train"}
    data: dict[str, Any] = {
        "root": "mine",
        "sources": {"mine": {"kind": "pairs", "input": "input", "target": "target", "split": "train", "task": "stains"}},
        "tasks": {"stains": {"kind": "pairs"}, "denoise_25": {"kind": "denoise", "sigma": 25}},
    }  # fmt: skip
    data["sources"] |= {"clean": clean} if photographs else {}
    values = {"data": data, "train": TRAIN, "machine": {"threads": 1}, "arms": {"png": ARM}} | sections
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def grow(*more: str, task: str = "stains", ticket: str = "shipped.safetensors") -> int:
    return main(["grow", ticket, "--task", task, "-o", "grown.safetensors", *more])


@pytest.mark.parametrize("pick", ["all", "learned"])
def test_a_task_is_added_and_the_earlier_one_restores_the_same_bits(
    pick: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(arms={"png": ARM | {"pick": pick, "pick_rate": 10}})
    assert grow() == 0
    said = capsys.readouterr().out
    before, after = (reading.read(here / f"{name}.safetensors") for name in ("shipped", "grown"))
    assert list(after.masks) == ["denoise_25", "stains"]
    assert isinstance(after.routing, ByTask) and list(after.routing.tasks) == ["denoise_25", "stains"]
    image_HWC = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    for skip_zeros in (True, False):
        old, new = (Restorer(ticket, threads=1, skip_zeros=skip_zeros) for ticket in (before, after))
        assert np.array_equal(old(image_HWC, task="denoise_25"), new(image_HWC, task="denoise_25"))
        assert not np.array_equal(new(image_HWC, task="stains"), new(image_HWC, task="denoise_25"))
    lineage = after.lineage
    assert (lineage.parent, lineage.name, lineage.round, lineage.steps) == (
        before.sha256,
        "a-r2-stains",
        4,
        12,
    )
    assert lineage.settings["grown"] == {"of": before.sha256, "name": "a-r2", "data": before.lineage.data}
    assert lineage.data not in ("", before.lineage.data) and lineage.settings["tasks"] == ["stains"]
    assert f"a-r2 is grown on other data ({lineage.data[:12]}) than its lineage names" in said
    own = after.masks.own("stains").kept
    assert f"grown stains into grown.safetensors: it owns {own:,} weights and shares" in said
    assert not list((here / ".mirl" / "grow").iterdir())
    assert main(["inspect", "grown.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lineage"]["parent"] == before.sha256


def test_an_interrupted_one_goes_on_and_ends_in_the_same_bytes(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grow() == 0
    calm = (here / "grown.safetensors").read_bytes()
    (here / "grown.safetensors").unlink()
    whole = stages.train_planned

    def stopped(study: Study, key: str, *rest: Any) -> None:
        ticks = iter([False, False, key == "prune-1"])
        whole(replace(study, should_stop=lambda: next(ticks, False)), key, *rest)

    monkeypatch.setattr(growth, "train_planned", stopped)
    assert grow() == 75
    assert len(list((here / ".mirl" / "grow").iterdir())) == 1
    assert "prune-1: stopped after step 3 of 6; run it again to go on" in capsys.readouterr().err
    assert not (here / "grown.safetensors").exists()
    monkeypatch.setattr(growth, "train_planned", whole)
    assert grow() == 0
    assert (here / "grown.safetensors").read_bytes() == calm


@pytest.mark.parametrize(
    ("task", "sections", "sentence"),
    [
        ("denoise_25", {}, "the ticket a-r2 serves denoise_25 already, by its sub-network denoise_25; its tasks are"),
        ("spots", {}, "'spots' is no task of params.yaml, whose tasks are stains, denoise_25; name it under"),
        ("stains", {"network": {"name": "nafnet"}}, "the network's decoder is [1, 1], but the ticket a-r2 has [1]"),
        ("stains", {"network": VALUES["network"]}, "the network's seed is 0, but the ticket a-r2 has 5; leave out"),
        ("stains", {"network": {"name": "restormer"}}, "the network's name is restormer, but the ticket a-r2 has nafnet"),
        ("stains", {"arms": {"a": {"method": "imp"}}}, "params.yaml has 0 arms that grow a requirement (none), expected"),
        ("stains", {"arms": {"a": ARM, "b": ARM}}, "has 2 arms that grow a requirement (a, b), expected one; name it with"),
        ("stains", {"train": TRAIN | {"stepz": 3}}, "params.yaml: `train.stepz` is not a known key; did you mean"),
        ("stains", {"arms": {"png": ARM | {"whole": ["", "head."]}}}, "round prune-1: no layer is left to prune: `whole`"),
        ("stains --arm c", {"arms": {"a": ARM, "b": ARM}}, "'c' is no arm of params.yaml that grows a requirement; those"),
        ("stains --prunings 2", {}, "round prune-2: the requirement stains comes twice: it is pruned already"),
        ("stains", {"trian": {}}, "params.yaml: `trian` is not a known key; did you mean `train`?"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(
    task: str, sections: dict[str, Any], sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(**sections)
    task, *more = task.split()
    assert grow(*more, task=task) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (here / "grown.safetensors").exists() and not [*here.glob(".mirl/grow/*")]


def called(ticket: Ticket, name: str, mask: Mask) -> Ticket:
    routing = ByTask(kind="task", tasks={"denoise_25": name})
    return replace(ticket, masks=Masks({name: mask}), routing=routing)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda given: replace(given, masks=Masks.one(given.mask), routing=Static()),
            "a-r2 is not told its task, its routing",
        ),
        (lambda given: packed(given, "int8"), "the ticket's values are int8, in units of the largest weight"),
        (lambda given: called(given, "denoise_25", Mask.full(given.mask)), "round grow: no capacity is left"),
        (lambda given: called(given, "stains", given.mask), "has a sub-network that is called stains, for denoise_25"),
    ],
    ids=["blind", "int8", "full", "name"],
)  # fmt: skip
def test_a_ticket_that_cannot_be_grown_is_one_sentence(
    make: Callable[[Ticket], Ticket], sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writing.write(make(reading.read(here / "shipped.safetensors")), here / "other.safetensors")
    assert grow(ticket="other.safetensors") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (here / "grown.safetensors").exists()


def test_values_in_16_bits_and_slimmed_tickets_grow(here: Path) -> None:
    """Of a packed ticket the values are what they were, so that it can be packed again without a change."""
    change(photographs=True)
    given = reading.read(here / "shipped.safetensors")
    writing.write(packed(given, "fp16"), here / "half.safetensors")
    assert grow(ticket="half.safetensors") == 0
    assert main(["pack", "grown.safetensors", "-o", "again.safetensors"]) == 0
    half, again = (
        reading.read(here / f"{name}.safetensors").alone("denoise_25") for name in ("half", "again")
    )
    for name in given.mask:
        assert half.state[name].numpy().tobytes() == again.state[name].numpy().tobytes()
    assert main(["slim", "grown.safetensors", "--tasks", "stains", "-o", "slim.safetensors"]) == 0
    assert grow("--force", task="denoise_25", ticket="slim.safetensors") == 0
    assert list(reading.read(here / "grown.safetensors").masks) == ["stains", "denoise_25"]


def test_an_earlier_task_that_would_change_is_refused(here: Path) -> None:
    """A changed bit under the earlier mask, whatever it does to a picture, or another mask."""
    given = reading.read(here / "shipped.safetensors")
    assert isinstance(given.routing, ByTask)
    growth.refuse_changed(given, given)
    state = {name: tensor.clone() for name, tensor in given.state.items()}
    state["tail.bias"] = torch.nextafter(state["tail.bias"], torch.tensor(1.0))
    less = {name: keep.clone() for name, keep in given.mask.items()}
    less["head.weight"].view(-1)[given.mask["head.weight"].flatten().nonzero()[0]] = False
    for other in (
        replace(given, state=state),
        replace(given, masks=Masks({"denoise_25": Mask(less)})),
        replace(given, routing=ByTask(kind="task", tasks={"rain": "denoise_25"})),
    ):
        with pytest.raises(UserError, match="denoise_25 would be restored otherwise than by the ticket a-r2"):
            growth.refuse_changed(given, other)


def test_no_file_is_replaced_unasked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "grown.safetensors").write_text("mine")
    assert grow() == 2
    assert "exists; --force writes over it" in capsys.readouterr().err
    assert (here / "grown.safetensors").read_text() == "mine"


def test_a_goal_in_db_takes_several_prunings(here: Path) -> None:
    """Each removes half of what the task owns, as long as it loses less than the goal."""
    change(arms={"png": ARM | {"goal": {"loss_db": 50.0, "fraction": 0.5}}})
    assert grow("--prunings", "2") == 0
    found = reading.read(here / "grown.safetensors")
    free = found.mask.total - found.masks["denoise_25"].kept
    assert found.masks.own("stains").kept / free == pytest.approx(0.25, abs=0.05)
    assert isinstance(found.routing, ByTask) and list(found.routing.pruned) == ["stains"]
    assert found.lineage.round == 5 and found.lineage.steps == 18

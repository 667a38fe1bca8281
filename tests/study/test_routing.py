"""`mirl routing` on the study of seconds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mirl.command.main import main
from mirl.config import UserError
from mirl.data.packed import PackedImages
from mirl.evaluation.metrics import psnr_db
from mirl.evaluation.routing import BOUNDS, ROUTER, STATIC
from mirl.study.params import Params
from mirl.study.routing import budgets_of
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets import reading
from mirl.tickets.routing import ByTask

ROUNDS = ("dense", "global-r1", "routed-r1", "routed-r2")
WORKS = ["0.4", "0.7"]


@pytest.fixture(scope="module")
def made(make_study: Callable[[Path], Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study with its prepared data, a ticket with a router and others."""
    study = make_study(tmp_path_factory.mktemp("routing"))
    for stage, key in (("prepare", ""), ("init", ""), *(("round", name) for name in ROUNDS)):
        STAGES[stage](study, key)
    return study


@pytest.fixture
def trained(made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """That study, seen from an empty folder of the test's own, in which it is the current one."""
    for name in ("data", "tickets", "params.yaml"):
        (tmp_path / name).symlink_to(made.root / name)
    monkeypatch.chdir(tmp_path)
    return replace(made, root=tmp_path)


def _files(*names: str) -> list[str]:
    return [f"tickets/{name}/ticket.safetensors" for name in names]


def _strict(study: Study) -> str:
    """The same parameters, but whole images are scored, which are no multiples of a patch."""
    text = (study.root / "params.yaml").read_text().replace("- paper\n  - strict", "- strict")
    Path("strict.yaml").write_text(text.replace("promote: {}", "promote: {protocol: strict}"))
    return "strict.yaml"


def test_every_way_restores_every_image(trained: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routing", *_files("routed-r2", "dense", "routed-r1"), "--work", *WORKS]) == 0
    said = capsys.readouterr().out
    assert "static medium" in said and said.endswith("\n\nthe charts: report/routing/routing.html\n")
    folder = Path("report/routing")
    assert {path.name for path in folder.iterdir()} == {"routing.csv", "routing.parquet", "routing.html"}
    frame, table = pd.read_csv(folder / "routing.csv"), pd.read_parquet(folder / "routing.parquet")
    assert frame.shape == table.shape and set(frame["task"]) == set(
        PackedImages(trained.files.prepared).tasks
    )
    ways = frame.groupby(["ticket", "way", "budget"], sort=False).size()
    assert set(ways) == {10}
    expected = [("routed-r2", STATIC)] * 3 + 2 * [("routed-r2", way) for way in (ROUTER, *BOUNDS)]
    assert [key[:2] for key in ways.index] == [*expected, ("dense", STATIC), *3 * [("routed-r1", STATIC)]]
    assert "static easy" in (folder / "routing.html").read_text()
    alone = frame[(frame["ticket"] == "routed-r2") & (frame["way"] == STATIC)]
    levels = frame[frame["ticket"] == "routed-r1"]  # has the same sub-networks, and no router
    for column in ("budget", "work", "psnr_db"):
        assert levels[column].tolist() == alone[column].tolist(), column


def test_chance_and_gradient_give_each_sub_network_as_many_patches_as_the_router(trained: Study) -> None:
    params = _strict(trained)
    assert main(["routing", *_files("routed-r2"), "--work", *WORKS, "--params", params]) == 0
    frame = pd.read_csv("report/routing/routing.csv")
    names = ["patches/easy", "patches/medium", "patches/hard"]
    assert frame[names].sum(axis=1).tolist() == pytest.approx([1] * len(frame))
    for budget in map(float, WORKS):
        counts = {}
        for way, rows in frame[frame["budget"] == budget].groupby("way"):
            counts[str(way)] = (rows[names].sum() * 9).round(6).tolist()  # 3 x 3 patches of each image
        assert counts["random"] == counts["gradient"] == counts[ROUTER] and sum(counts[ROUTER]) == 90
        work = frame[frame["budget"] == budget].groupby("way")["work"].mean()
        # Patches that the edge of an image cuts take less.
        assert work["random"] == pytest.approx(work[ROUTER], abs=0.1)
    alone = frame[frame["way"] == STATIC]
    assert alone["work"].tolist() == pytest.approx(alone["budget"].tolist())  # hard is the dense network


def test_a_sub_network_alone_is_what_restore_makes_with_its_work(trained: Study) -> None:
    assert main(["routing", *_files("routed-r2"), "--work", "0.6", "--params", _strict(trained)]) == 0
    frame = pd.read_csv("report/routing/routing.csv")
    packed = PackedImages(trained.files.prepared)
    for item in packed.items("test", "derain"):
        assert item.degraded is not None
        Image.fromarray(packed.image(item.degraded)).save("in.png")
        clean_HWC = packed.image(item.clean) / np.float32(255)
        own = frame[(frame["task"] == "derain") & (frame["image"] == item.image) & (frame["way"] == STATIC)]
        for row in own.to_dict("records"):
            wanted = [
                "--work",
                repr(row["budget"]),
                "--ticket",
                *_files("routed-r1"),
                "--threads",
                "1",
                "--force",
            ]
            assert main(["restore", "in.png", "-o", "out.png", *wanted]) == 0
            restored_HWC = np.asarray(Image.open("out.png")) / np.float32(255)
            assert psnr_db(restored_HWC, clean_HWC) == pytest.approx(row["psnr_db"], abs=1e-4)
        assert own["psnr_db"].nunique() == 3


def test_the_same_measurement_gives_the_same_bytes_but_for_seconds(trained: Study) -> None:
    for out in ("one", "two"):
        assert main(["routing", *_files("routed-r2", "global-r1"), "--limit", "1", "-o", out]) == 0
    one, two = (pd.read_csv(f"{out}/routing.csv").drop(columns="seconds").to_csv() for out in ("one", "two"))
    assert one == two
    frame = pd.read_csv("one/routing.csv")
    assert set(frame["image"]) == {"test-test-0"} and (frame["seconds"] > 0).all()
    counted = json.loads(Path("tickets/global-r1/metrics.json").read_text())
    sparse = frame[frame["ticket"] == "global-r1"]
    assert set(sparse["work"]) == {counted["macs_g"] / counted["macs_dense_g"]} and sparse["work"].max() < 0.9
    least = frame["budget"].min()
    even = [round(least + part * (1 - least) / 5, 3) for part in (1, 2, 3, 4)]
    assert frame.loc[frame["way"] == ROUTER, "budget"].unique() == pytest.approx(even)


def test_the_report_says_where_it_is_and_keeps_it(trained: Study, capsys: pytest.CaptureFixture[str]) -> None:
    STAGES["evaluate"](trained, "dense")
    rounds = {"rounds": {"dense": {"arm": "dense", "after": "init"}}}
    one = Params.model_validate(trained.params.model_dump(exclude_unset=True) | rounds)
    assert main(["routing", *_files("routed-r2"), "--work", "0.6", "--limit", "1"]) == 0
    before = Path("report/routing/routing.html").read_bytes()
    STAGES["compare"](replace(trained, params=one), "")
    assert Path("report/routing/routing.html").read_bytes() == before
    capsys.readouterr()
    assert main(["report"]) == 0
    assert capsys.readouterr().out.endswith("routed by difficulty: report/routing/routing.html\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dense", "routed-r1"], "none of the tickets dense, routed-r1 routes by difficulty; name one of"),
        (["routed-r2", "--work", "0.1"], "the work is 0.1, expected a share between 0.25 and 1 of"),
        (["routed-r2", "--work", "0.5", "1"], "the work is 1, expected a share between 0.25 and 1 of"),
        (["routed-r2", "-o", "params.yaml"], "params.yaml is no folder"),
        (["routed-r2", "--params", "none.yaml"], "none.yaml"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    trained: Study, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["routing", *(_files(each)[0] if each in ROUNDS else each for each in arguments)]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not Path("report").exists()


def test_tickets_that_are_not_comparable_are_refused(trained: Study) -> None:
    routed, dense = (reading.read(Path(file)) for file in _files("routed-r2", "dense"))
    assert budgets_of({"r": routed, "d": dense}, [0.5, 0.3, 0.5]) == {"r": [0.3, 0.5], "d": []}
    wider = dense.network.model_copy(update={"options": dense.network.options | {"width": 8}})
    with pytest.raises(UserError, match="the ticket wide is of another network than r; name tickets of one"):
        budgets_of({"wide": replace(dense, network=wider), "r": routed}, [])
    told = ByTask(kind="task", tasks={"derain": next(iter(dense.masks))})
    with pytest.raises(UserError, match="the ticket told has to be told its task"):
        budgets_of({"r": routed, "told": replace(dense, routing=told)}, [])


def test_without_prepared_data_the_way_to_it_is_named(
    trained: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data").unlink()
    assert main(["routing", *_files("routed-r2")]) == 2
    said = capsys.readouterr().err
    assert "data/prepared/manifest.parquet does not exist; `dvc repro prepare` makes it" in said
    assert said.count("\n") == 1


def test_without_test_images_there_is_nothing_to_measure(
    trained: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirl.study.routing.held_out_images", lambda root: iter(()))
    assert main(["routing", *_files("routed-r2")]) == 2
    assert "data/prepared has no test images; add a source of the split test\n" in capsys.readouterr().err


@pytest.mark.parametrize("after", [3, 15])
def test_stopped_it_leaves_nothing_half_done(
    after: int, trained: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it looks at the images, and while it restores them."""
    calls: list[Any] = []

    def stopped(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr("mirl.study.study.ImageBar.__call__", stopped)
    assert main(["routing", *_files("routed-r2")]) == 130
    assert capsys.readouterr().err.endswith("mirl: stopped\n") and not Path("report").exists()

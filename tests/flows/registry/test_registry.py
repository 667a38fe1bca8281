"""The registry against a real MLflow on an SQLite file, with a tiny ticket."""

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.pyfunc import load_model
from PIL import Image

from flows import registry
from flows.registry import model_files
from flows.registry.__main__ import main
from flows.tracking.store import Store
from mirl.config import UserError
from mirl.evaluation.scoring import Restore
from mirl.restore.restorer import Restorer
from mirl.tickets.container import sha256_of
from mirl.tickets.reading import read
from tests.flows.registry.tiny import CHAMPION, alias, scored
from tests.fuzz.forge import forged

Make = Callable[..., Path]


def test_the_champion_carries_the_ticket_file(root: Path, decided: Callable[..., None]) -> None:
    decided()
    promotion = registry.promote(root, scored)
    assert (promotion.ticket, promotion.version) == ("global-r1", "1")
    assert "the sparsest that wins" in promotion.said
    ticket = root / "tickets/global-r1/ticket.safetensors"
    assert registry.download(CHAMPION).read_bytes() == ticket.read_bytes()
    assert registry.download("models:/mirl/1").name == "ticket.safetensors"
    (row,) = registry.versions(root).to_dict("records")
    assert (row["alias"], row["verified"], row["ticket"], row["study"]) == (
        "champion",
        "yes",
        "global-r1",
        "tiny",
    )


def test_promoting_the_same_ticket_again_makes_no_second_version(
    root: Path, decided: Callable[..., None]
) -> None:
    decided()
    registry.promote(root, scored)
    again = registry.promote(root, unwanted)  # it is not even scored again
    assert again.version == "1"
    assert "already" in again.said
    assert len(registry.versions(root)) == 1
    assert alias(root, "previous") is None


@pytest.mark.parametrize("name", ["moved", "what?", "a%20b", "a #b;c"])
@pytest.mark.parametrize("bring", [shutil.move, shutil.copytree])
def test_the_champion_goes_along_with_the_folder(
    root: Path,
    decided: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    bring: Callable[..., Any],
) -> None:
    decided()
    registry.promote(root, scored)
    there = root.parent / f"{root.name}-there" / name
    there.parent.mkdir()
    monkeypatch.chdir(root.parent)
    bring(str(root), str(there))
    monkeypatch.chdir(there)
    assert registry.download(CHAMPION).is_relative_to(there)
    assert "already" in registry.promote(there, unwanted).said  # nothing is registered or scored again
    if bring is shutil.copytree:
        monkeypatch.chdir(root)
        assert registry.download(CHAMPION).is_relative_to(root)  # where it came from stays as it was
    assert sorted(path.name for path in there.parent.iterdir()) == [name]


@pytest.mark.parametrize("name", ["what?", "a%20b", "a%2520b", "a #b;c"])
def test_a_folder_may_have_any_name(
    root: Path, decided: Callable[..., None], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    decided()
    (root / "mlflow.db").unlink()
    there = root.parent / f"{root.name}-there" / name
    shutil.copytree(root, there)
    monkeypatch.chdir(there)
    assert registry.promote(there, scored).version == "1"
    assert registry.download(CHAMPION).is_relative_to(there / "mlartifacts")
    assert [path.name for path in there.parent.iterdir()] == [name]


def test_rolling_back_swaps_champion_and_previous(root: Path, decided: Callable[..., None]) -> None:
    for seed in (1, 2):
        decided(seed)
        registry.promote(root, scored)
    assert (alias(root, "champion"), alias(root, "previous")) == ("2", "1")
    assert "version 1" in registry.rollback(root)
    assert registry.download("models:/mirl/1") != registry.download("models:/mirl/2")  # both are still whole
    assert (alias(root, "champion"), alias(root, "previous")) == ("1", "2")
    registry.promote(root, scored)  # the report still says the second: it comes back, as the same version
    assert (alias(root, "champion"), alias(root, "previous")) == ("2", "1")
    assert len(registry.versions(root)) == 2


def test_a_champion_that_is_sparser_stays_unless_forced(root: Path, decided: Callable[..., None]) -> None:
    decided(2)
    registry.promote(root, scored)
    decided(1)
    promotion = registry.promote(root, scored)
    assert promotion.ticket is None
    assert "60.0% against 50.0% density" in promotion.said and "--force" in promotion.said
    assert alias(root, "champion") == "1"
    assert registry.promote(root, scored, force=True).version == "2"
    assert alias(root, "champion") == "2"


def test_by_work_a_champion_that_does_less_stays_though_it_is_denser(
    root: Path, decided: Callable[..., None]
) -> None:
    def decided_with(seed: int, macs_g: float) -> None:
        decided(seed)
        path = root / "tickets" / "global-r1" / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"macs_g": macs_g, "macs_dense_g": 1.0}))

    decided(3)
    registry.promote(root, scored)  # by weights: its tags do not say its work
    params = yaml.safe_load((root / "params.yaml").read_text()) | {"promote": {"cost": "work"}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    decided_with(1, 0.4)
    assert "stays the champion: its work is not known" in registry.promote(root, scored).said
    assert registry.promote(root, scored, force=True).version == "2"
    decided_with(2, 0.5)
    assert "cheaper or better (50.0% against 40.0% work" in registry.promote(root, scored).said
    decided_with(0, 0.3)
    assert registry.promote(root, scored).version == "4"


def test_a_champion_of_other_data_stays_unless_forced(root: Path, decided: Callable[..., None]) -> None:
    decided(1)
    registry.promote(root, scored)
    Store(root).client.set_model_version_tag("mirl", "1", "dataset", "e" * 64)
    decided(2)
    assert "measured on other data" in registry.promote(root, scored).said
    assert alias(root, "champion") == "1"
    assert registry.promote(root, scored, force=True).ticket == "global-r1"


def test_a_ticket_that_scores_differently_from_the_registry_does_not_move_the_alias(
    root: Path, decided: Callable[..., None]
) -> None:
    decided(1)
    registry.promote(root, scored)
    decided(2)

    def worse(restore: Restore) -> pd.DataFrame:
        frame = scored(restore)
        return frame.assign(psnr_db=frame["psnr_db"] - 0.011)

    with pytest.raises(UserError, match="the champion stays"):
        registry.promote(root, worse)
    assert alias(root, "champion") == "1"
    assert list(registry.versions(root)["verified"]) == ["no", "yes"]
    registry.promote(root, scored)
    assert alias(root, "champion") == "2"


@pytest.mark.parametrize("rows", [0, 1], ids=["no row", "another image"])
def test_scores_that_cannot_be_compared_do_not_verify(
    root: Path, decided: Callable[..., None], rows: int
) -> None:
    decided()
    with pytest.raises(UserError, match="other images or protocols"):
        registry.promote(root, lambda restore: scored(restore).assign(image="b").head(rows))
    assert alias(root, "champion") is None


def test_nothing_to_promote_is_an_answer(
    root: Path, make_report: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make_report(None, ("Nothing is promoted: no ticket matches dense.", "more"))
    assert main(["promote"]) == 0
    assert capsys.readouterr().out == "Nothing is promoted: no ticket matches dense.\n"


def test_a_ticket_of_a_network_that_is_not_ours_is_refused(root: Path, decided: Callable[..., None]) -> None:
    """By its header: nothing of that network has to be there."""
    decided()
    path = root / "tickets/global-r1/ticket.safetensors"
    file = forged(path.read_bytes())
    file.header["network"] |= {"name": "mynets.unet:TinyUNet", "source": "a" * 64}
    file.write(path)
    decision = root / "report/decision.json"
    decision.write_text(json.dumps(json.loads(decision.read_text()) | {"sha256": sha256_of(path)}))
    with pytest.raises(
        UserError, match=r"has the network mynets.unet:TinyUNet, and .* carries mirl's code alone"
    ):
        registry.promote(root, unwanted)
    assert alias(root, "champion") is None


def test_a_report_that_is_older_than_its_ticket_is_refused(
    root: Path, decided: Callable[..., None], make_ticket: Make
) -> None:
    decided(1)
    make_ticket(seed=2)
    with pytest.raises(UserError, match="not the file that the report assessed"):
        registry.promote(root, scored)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["promote"], "dvc repro"),
        (["rollback"], "no champion"),
        (["--root", "empty", "rollback"], "mlflow.db"),
        (["--root", "empty", "list"], "mlflow.db"),
    ],
)
def test_commands_refuse_in_one_sentence(
    root: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "empty").mkdir()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list((root / "empty").iterdir()) == []


def test_the_only_champion_cannot_be_rolled_back(root: Path, decided: Callable[..., None]) -> None:
    decided()
    registry.promote(root, scored)
    with pytest.raises(UserError, match="only champion"):
        registry.rollback(root)


@pytest.mark.parametrize("address", [CHAMPION, "models:/mirl/3", "models:/mirl", "models:/mirl@", "runs:/x"])
def test_an_address_that_leads_nowhere_is_refused(root: Path, address: str) -> None:
    with pytest.raises(UserError, match=address):
        registry.download(address)


def test_a_registered_file_that_was_changed_is_not_handed_out(
    root: Path, decided: Callable[..., None]
) -> None:
    decided()
    registry.promote(root, scored)
    with registry.download(CHAMPION).open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="not the ticket that was registered"):
        registry.download(CHAMPION)


def test_the_model_takes_and_gives_pictures_as_bytes_base64_and_arrays(
    tmp_path: Path, make_ticket: Make
) -> None:
    ticket = make_ticket() / "ticket.safetensors"
    model_files.save(ticket, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    image_HWC = np.random.default_rng(0).integers(0, 256, (13, 18, 3), np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(image_HWC).save(file, format="PNG")
        encoded = file.getvalue()
    values: list[Any] = [image_HWC, encoded, base64.b64encode(encoded).decode()]
    expected_HWC = Restorer(read(ticket))(image_HWC)
    for value in values:
        answer: Any = model.predict(pd.DataFrame({"image": [value]}))
        (restored,) = answer["image"]
        if isinstance(restored, bytes):
            restored = np.asarray(Image.open(io.BytesIO(restored)))
        np.testing.assert_array_equal(restored, expected_HWC)
    with pytest.raises(Exception, match="not an image"):
        model.predict(pd.DataFrame({"image": [b"no picture"]}))


def test_the_model_names_what_it_needs_and_brings_its_code(tmp_path: Path, make_ticket: Make) -> None:
    model_files.save(make_ticket() / "ticket.safetensors", tmp_path / "model")
    needed = (tmp_path / "model/requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in needed} >= {
        "mlflow",
        "torch",
        "numpy",
        "safetensors",
        "pydantic",
    }
    assert not any("+" in line or line.startswith(("dvc", "prefect", "pytest")) for line in needed)
    assert (tmp_path / "model/code/mirl/tickets/reading.py").exists()
    assert not list((tmp_path / "model").rglob("__pycache__"))


def unwanted(restore: Restore) -> pd.DataFrame:
    raise AssertionError("scored again")

"""A study of a network of the user's own, from params.yaml alone."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mirl.command.main import main
from mirl.config import UserError
from mirl.networks import imported
from mirl.study.params import Params, read_params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets import reading
from tests.own_network import NAME, TRACE, UNET, write_network

pytestmark = pytest.mark.usefixtures("nothing_allowed")
NETWORK = {"name": NAME, "options": {"width": 5}}
ROUNDS = {
    "dense": {"arm": "dense", "after": "init"},
    "global-r1": {"arm": "global", "after": "dense"},
    "random-r1": {"arm": "random", "after": "global-r1"},
}


def write_params(root: Path, **changed: dict[str, Any]) -> Path:
    path = root / "params.yaml"
    values = yaml.safe_load(path.read_text()) | {"network": NETWORK, "rounds": ROUNDS}
    for name, section in changed.items():
        values[name] = values[name] | section
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture
def root(study: Study, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study whose params.yaml names mynets/unet.py; the current folder."""
    monkeypatch.chdir(study.root)
    write_network(study.root)
    write_params(study.root)
    return study.root


def make(root: Path, *stages: str) -> Study:
    study = Study(root=root, params=read_params(root / "params.yaml", own=root))
    for stage in stages:
        name, _, key = stage.partition("@")
        STAGES[name](study, key)
    return study


def forget() -> None:
    """As another process, which was told nothing."""
    imported._allowed.clear()
    imported._loaded.clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "mynets"]:
        del sys.modules[name]


def test_everything_works_from_params_alone(root: Path) -> None:
    rounds = [f"round@{name}" for name in ROUNDS]
    scores = [f"evaluate@{name}" for name in ROUNDS]
    study = make(root, "prepare", "init", *rounds, *scores, "compare")
    table = pd.read_parquet(study.files.report / "comparison.parquet").set_index("name")
    assert table["density/prunable"].round(2).to_dict() == {"dense": 1.0, "global-r1": 0.5, "random-r1": 0.5}
    digest = hashlib.sha256(UNET.encode()).hexdigest()
    init, pruned = (
        reading.read(study.files.ticket(name) / "ticket.safetensors") for name in ("init", "global-r1")
    )
    assert init.lineage.settings == {"network": {"name": NAME, "options": {"width": 5}, "source": digest}}
    assert pruned.network.source == digest
    forget()
    header = reading.inspect(study.files.ticket("global-r1") / "ticket.safetensors")
    assert header["network"] == pruned.network.spec() and "mynets.unet" not in sys.modules


def test_costs_and_dry_runs_need_no_more(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 0
    assert f"3 trainings of {NAME} in batches of 5" in capsys.readouterr().out
    assert main(["dry-run"]) == 0
    assert "everything works" in capsys.readouterr().out


def test_two_processes_train_it(root: Path) -> None:
    values: dict[str, Any] = {
        "train": {"batches": {"batch": 6, "patch": 16}},
        "machine": {"processes": 2, "loaders": 1},
    }
    write_params(root, **values)
    study = make(root, "prepare", "init", "round@dense")
    metrics = json.loads((study.files.ticket("dense") / "metrics.json").read_text())
    assert metrics["steps"] == 6


def test_a_file_that_changes_while_processes_begin_is_noticed(root: Path) -> None:
    values: dict[str, Any] = {
        "train": {"batches": {"batch": 6, "patch": 16}},
        "machine": {"processes": 2, "loaders": 0},
    }
    write_params(root, **values)
    make(root, "prepare", "init")
    write_network(root, UNET + "# changed\n")  # this process has the one of before
    with pytest.raises(UserError, match=r"is meant with the source \w{64}, but mynets/unet.py here has"):
        make(root, "round@dense")


def test_a_changed_source_is_another_network(root: Path) -> None:
    make(root, "prepare", "init", "round@dense")
    before = (root / "tickets/init/ticket.safetensors").read_bytes()
    forget()
    write_network(root, UNET.replace(".relu()", ".sigmoid()"))
    for stage in ("round@dense", "round@global-r1", "evaluate@dense", "compare"):
        with pytest.raises(
            UserError, match=r"tickets/\w+/ticket.safetensors: the network .* here has .*repro -f init"
        ):
            make(root, stage)
    make(root, "init")
    assert (root / "tickets/init/ticket.safetensors").read_bytes() != before
    make(root, "round@dense")


def test_a_source_in_params_has_to_be_that_of_the_file(root: Path) -> None:
    digest = hashlib.sha256(UNET.encode()).hexdigest()
    write_params(root, network={"source": digest})
    assert read_params(root / "params.yaml").network.source == digest
    write_params(root, network={"source": "a" * 64})
    with pytest.raises(
        UserError, match=f"params.yaml: the network {NAME} is meant with the source {'a' * 64}, but"
    ):
        read_params(root / "params.yaml")


def test_params_import_nothing_unless_they_are_the_users(root: Path) -> None:
    path = write_network(root, TRACE + UNET)
    values = yaml.safe_load((root / "params.yaml").read_text())
    assert Params.read(values, "params.yaml").network.name == NAME
    assert read_params(root / "params.yaml", own=None).network.source == ""
    assert not path.with_suffix(".ran").exists()
    read_params(root / "params.yaml")
    assert path.with_suffix(".ran").exists()


def test_params_check_what_the_network_takes(root: Path) -> None:
    write_network(root, UNET.replace("multiple = 2", "multiple = 3"))
    with pytest.raises(UserError, match=rf"patch is 16, but {NAME} takes multiples of 3; use 15 or 18"):
        read_params(root / "params.yaml")


def test_a_network_that_gives_another_size_is_refused_before_it_is_trained(root: Path) -> None:
    write_network(root, UNET.replace("return x_BCHW + self.tail(", "return ("))
    with pytest.raises(UserError, match="TinyUNet makes 1 x 5 x 16 x 16 float32 of 1 x 3 x 16 x 16 float32"):
        make(root, "init")
    assert not (root / "tickets").exists()

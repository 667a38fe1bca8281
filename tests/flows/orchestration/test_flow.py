"""The flow over the graph, with a Prefect server of its own, on a pipeline of shell commands."""

import ast
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.states import State
from prefect.testing.utilities import prefect_test_harness

from flows.graph import cache_folder
from flows.locks import parse_lock
from flows.orchestration.artifacts import kept, key_of
from flows.orchestration.flow import Placement, Source, lottery
from flows.orchestration.lock_store import LockArtifact
from flows.orchestration.lockfile import LockFile
from flows.orchestration.parameters import resolve_params
from mirl.config import UserError
from tests.flows.orchestration import pipelines
from tests.flows.orchestration.pipelines import make_repository

FLOWS = Path(__file__).parents[3] / "flows"
STAGES = ("prepare", "init", "round", "evaluate", "compare")


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=90):
        yield


@pytest.fixture
def root(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_repository(tmp_path / "repository")
    (root / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    return root


def start(root: Path, lock: Path | None = None, **asked: Any) -> State[Any]:
    where = Placement(
        jobs=2, home=str(root / ".mirl" / "lottery"), cache=str(cache_folder(root)), lock=str(lock or "")
    )
    return lottery(Source(repository=str(root)), where, **asked, return_state=True)


def begun(root: Path) -> list[str]:
    """What `link.sh` was run for, in order; the runs of one lottery leave it in their clones' cache."""
    path = root / "log"
    return path.read_text().split() if path.exists() else []


def note_runs(root: Path) -> None:
    (root / "link.sh").write_text(pipelines.LINK + f'echo "$1" >> {root}/log\n')
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "note")


def test_a_lottery_ends_with_what_dvc_repro_makes(root: Path) -> None:
    state = start(root, root / "dvc.lock")
    assert state.is_completed() and state.message == "8 stages were made, 0 were up to date."
    lock = parse_lock((root / "dvc.lock").read_text())
    pipelines.run(root, "dvc", "checkout", "--quiet")
    assert pipelines.run(root, "dvc", "status") == "Data and pipelines are up to date."
    assert (root / "made" / "r2" / "word").read_text() == "word\ndense\nr1\nr2\n"
    pipelines.run(root, "dvc", "repro", "--quiet", "--force")
    assert parse_lock((root / "dvc.lock").read_text()) == lock


def test_again_it_makes_what_has_changed_and_nothing_else(root: Path) -> None:
    note_runs(root)
    start(root, root / "dvc.lock")
    assert begun(root) == ["dense", "r1", "r2"]
    again = start(root, root / "dvc.lock")
    assert again.message == "0 stages were made, 8 were up to date."
    other = start(root, root / "dvc.lock", overrides={"arms.global.fraction": 0.2})
    assert other.message == "5 stages were made, 3 were up to date."
    assert begun(root) == ["dense", "r1", "r2", "r1", "r2"]


def test_the_table_and_the_lock_are_kept_with_prefect(root: Path) -> None:
    study = f"words.{root.parent.name}"
    pipelines_params = yaml.safe_load((root / "params.yaml").read_text()) | {"study": study}
    (root / "studies" / "own.yaml").write_text(yaml.safe_dump(pipelines_params))
    pipelines.run(root, "git", "add", "--all")
    pipelines.run(root, "git", "commit", "--quiet", "--message", "own")
    assert start(root, study="own", targets=["judge@r1"]).is_completed()
    rows = {row["ticket"]: row for row in kept(key_of("tickets", study))}
    assert rows.keys() == {"r1"} and rows["r1"]["PSNR dB"] == "14.0000"
    assert kept(key_of("progress", study)) == 100.0
    assert LockArtifact(study).load().keys() == {"begin", "link@dense", "link@r1", "judge@r1"}
    assert start(root, study="own", targets=["judge@r1"]).message == "0 stages were made, 4 were up to date."


def test_what_is_committed_counts_beside_what_was_kept(root: Path) -> None:
    assert start(root, root / "dvc.lock").is_completed()
    pipelines.run(root, "git", "add", "--all")
    pipelines.run(root, "git", "commit", "--quiet", "--message", "made")
    made, kept_lock = LockFile(root / "dvc.lock").load(), LockFile(root.parent / "kept.lock")
    half_of_one, of_another = ["begin"], made["link@dense"] | {"cmd": "another"}
    for entries in ({name: made[name] for name in half_of_one}, {"link@dense": of_another}):
        kept_lock.write(entries)
        assert start(root, kept_lock.path).message == "0 stages were made, 8 were up to date."
        assert kept_lock.load() == made  # so that `promote` finds them


def test_a_chosen_study_leaves_the_machine_as_it_is(root: Path) -> None:
    values = yaml.safe_load((root / "params.yaml").read_text())
    (root / "studies" / "own.yaml").write_text(yaml.safe_dump(values | {"machine": {"threads": 7}}))
    (root / "params.yaml").write_text(yaml.safe_dump(values | {"machine": {"threads": 2}}))
    resolve_params(root, "", "own", {})
    assert yaml.safe_load((root / "params.yaml").read_text())["machine"] == {"threads": 2}
    resolve_params(root, "", "own", {"machine.threads": 3})
    assert yaml.safe_load((root / "params.yaml").read_text())["machine"] == {"threads": 3}


def test_a_failing_arm_does_not_stop_the_others(root: Path) -> None:
    (root / "link.sh").write_text(
        '[ "$1" = r1 ] && { echo "error: no luck" >&2; exit 2; }\n' + pipelines.LINK
    )
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "fail")
    state = start(root, root / "dvc.lock")
    assert state.is_failed()
    assert state.message == "link@r1: no luck; 4 stages were not begun"
    assert {"judge@dense", "link@dense"} <= parse_lock((root / "dvc.lock").read_text()).keys()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"study": "wrods"}, "there is no study 'wrods' at this revision; there are words"),
        ({"overrides": {"train.stesp": 4}}, "did you mean `steps`?"),
        ({"overrides": {"train.steps.more": 4}}, "goes through steps"),
        ({"targets": ["link@r9"]}, "no stage 'link@r9'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(root: Path, asked: dict[str, Any], sentence: str) -> None:
    state = start(root, root / "dvc.lock", **asked)
    assert state.is_failed() and sentence in (state.message or "")
    assert not (root / "dvc.lock").exists()


def test_overrides_change_the_text_of_the_parameters_alone_where_there_are_any(root: Path) -> None:
    text = (root / "params.yaml").read_text()
    assert resolve_params(root, "", "", {}) == "words" and (root / "params.yaml").read_text() == text
    resolve_params(root, "", "", {"train.steps": 9, "arms.global.floor": 0.1})
    values = yaml.safe_load((root / "params.yaml").read_text())
    assert values["train"]["steps"] == 9 and values["arms"]["global"] == {
        "method": "imp", "schedule": "authors", "fraction": 0.3, "floor": 0.1
    }  # fmt: skip
    with pytest.raises(UserError, match="did you mean"):
        resolve_params(root, "", "", {"trian": {}})


def test_an_interrupted_lottery_goes_on_where_it_was(root: Path) -> None:
    (root / "link.sh").write_text(
        f'echo $$ > {root}/pid; echo "$1" >> {root}/log; [ "$1" = r1 ] && [ ! -e {root}/go ] && sleep 600\n'
        + pipelines.LINK
    )
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "wait")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.orchestration"], cwd=root, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while "r1" not in begun(root):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(2)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130 and "run it again to go on" in said, said
    assert not _lives(int((root / "pid").read_text()))
    assert "link@dense" in LockFile(root / "dvc.lock").load()
    (root / "go").touch()
    done = subprocess.run(
        [sys.executable, "-m", "flows.orchestration"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert begun(root) == ["dense", "r1", "r1", "r2"]
    assert pipelines.run(root, "dvc", "status") == "Data and pipelines are up to date."


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_was_made_and_is_gone_is_made_again(root: Path) -> None:
    note_runs(root)
    assert start(root, root / "dvc.lock", targets=["judge@dense"]).is_completed()
    shutil.rmtree(cache_folder(root))
    state = start(root, root / "dvc.lock", targets=["judge@dense"])
    assert state.message == "3 stages were made, 0 were up to date."
    assert begun(root) == ["dense", "dense"]


def test_data_in_dvc_needs_no_remote_on_one_machine(root: Path) -> None:
    pipelines.run(root, "git", "rm", "--quiet", "--cached", "-r", "source")
    pipelines.run(root, "dvc", "add", "--quiet", "source")
    pipelines.run(root, "git", "add", "--all")
    pipelines.run(root, "git", "commit", "--quiet", "--message", "data in DVC")
    assert start(root, root / "dvc.lock", targets=["link@dense"]).is_completed()
    (root / "source" / "word").unlink()
    (root / "source" / "word").write_text("my own")
    done = subprocess.run(
        [sys.executable, "-m", "flows.orchestration"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 2 and "source was changed after `dvc add`" in done.stderr
    assert (root / "source" / "word").read_text() == "my own"


def test_a_failed_lottery_shows_no_older_decision(root: Path) -> None:
    assert start(root, root / "dvc.lock").is_completed()
    (root / "link.sh").write_text("exit 7\n")
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "fail")
    state = start(root, root / "dvc.lock")
    assert state.is_failed() and "exited with 7" in (state.message or "")
    clone = root / ".mirl" / "lottery" / "clones" / "0"
    assert (clone / "made" / "init").exists() and not (clone / "total.txt").exists()


def test_no_stage_is_named_in_the_shell() -> None:
    """A new stage in dvc.yaml needs no change here. `stage` runs them, and has its own table."""
    spoken = {"promote"}
    found = []
    for path in [FLOWS / "graph.py", *sorted((FLOWS / "lottery").glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in spoken:
                words = {node.value, node.value.partition("@")[0]}
                found += [f"{path.name}: {node.value}" for stage in STAGES if stage in words]
    assert found == []


def test_the_stages_are_those_of_the_graph() -> None:
    stages = yaml.safe_load((FLOWS.parent / "dvc.yaml").read_text())["stages"]
    assert set(stages) == set(STAGES)

"""One stage in a private clone: what it hands on, what it says, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.graph import read_graph
from flows.locks import Lock, lock_text, parse_lock
from flows.orchestration import runner
from flows.orchestration.checkout import CloneFolder, Revision, resolve
from flows.orchestration.runner import ChildProcessGuard, Dvc, StageJob, run
from mirl.config import Stopped, UserError
from tests.flows.orchestration import pipelines
from tests.flows.orchestration.pipelines import make_repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


@pytest.fixture
def clones(tmp_path: Path) -> CloneFolder:
    return CloneFolder.of(str(tmp_path / "home"))


def work(root: Path, name: str, lock: Lock) -> StageJob:
    node = read_graph(root)[name]
    revision = Revision(repository=str(root), commit=resolve(str(root), "HEAD"))
    return StageJob(key=node.key(lock), node=node, revision=revision, lock=lock)


def commit(root: Path, script: str) -> None:
    (root / "link.sh").write_text(script)
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "another script")


def begin(root: Path, clones: CloneFolder) -> Lock:
    return {"begin": run(work(root, "begin", {}), clones, {}, print).entry}


def test_stages_hand_on_their_entries_and_their_results(root: Path, clones: CloneFolder) -> None:
    said: list[str] = []
    lock = begin(root, clones)
    for name in ("link@dense", "judge@dense"):
        given = work(root, name, lock)
        done = run(
            StageJob.model_validate_json(given.model_dump_json()), clones, {"SEEN": "yes"}, said.append
        )
        lock[name] = done.entry
    assert "linked dense" in said
    assert done.metrics == {"psnr_db/mean": 11} and done.host == os.uname().nodename and done.seconds > 0
    pipelines.run(root, "dvc", "repro", "--quiet", "judge@dense")
    assert lock == parse_lock((root / "dvc.lock").read_text())


def test_with_a_remote_results_travel_by_it(root: Path, tmp_path: Path) -> None:
    pipelines.run(root, "dvc", "remote", "add", "--default", "far", str(tmp_path / "far"))
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "remote")
    lock = begin(root, CloneFolder.of(str(tmp_path / "one")))
    other = CloneFolder.of(str(tmp_path / "two"))  # another machine: it has nothing but the remote
    lock["link@dense"] = run(work(root, "link@dense", lock), other, {}, print).entry
    (root / "dvc.lock").write_text(lock_text(lock))
    pipelines.run(root, "dvc", "pull", "--quiet", "link@dense")
    assert (root / "made" / "dense" / "word").read_text() == "word\ndense\n"


def test_a_closed_remote_is_said_before_the_work_not_after_it(root: Path, clones: CloneFolder) -> None:
    lock = begin(root, clones)
    pipelines.run(root, "dvc", "remote", "add", "--default", "far", "http://127.0.0.1:9/nobody")
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "remote")
    said: list[str] = []
    with pytest.raises(UserError, match="the DVC remote 'far' does not let this machine in"):
        run(work(root, "link@dense", lock), clones, {}, said.append)
    assert said == []


def test_a_result_that_could_not_be_pushed_is_pushed_later_and_not_made_again(
    root: Path, clones: CloneFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PUSH_AGAIN_SECONDS", (0.0, 0.0))
    far, said = tmp_path / "far", list[str]()
    pipelines.run(root, "dvc", "remote", "add", "--default", "far", str(far))
    commit(root, f"echo made >> {tmp_path}/log; rm -rf {far}; touch {far}\n" + pipelines.LINK)
    given = work(root, "link@dense", begin(root, clones))
    with pytest.raises(UserError, match="dvc push link@dense: .*Not a directory"):
        run(given, clones, {}, said.append)
    assert len([line for line in said if "it is tried again" in line]) == 2
    far.unlink()
    done = run(given, clones, {}, print)
    assert (tmp_path / "log").read_text() == "made\n"
    (out,) = done.entry["outs"]
    assert (far / "files" / "md5" / out["md5"][:2] / out["md5"][2:]).exists()


@pytest.mark.parametrize(
    ("script", "error", "sentence"),
    [
        ("echo 'error: the disk is full' >&2; exit 2", UserError, "link@dense: the disk is full"),
        ("exit 75", Stopped, "link@dense was stopped; it goes on"),
        ("echo oh; exit 7", RuntimeError, "exited with 7"),
    ],
)
def test_how_a_stage_ends_is_known(
    root: Path, clones: CloneFolder, script: str, error: type[Exception], sentence: str
) -> None:
    commit(root, script)
    with pytest.raises(error, match=sentence):
        run(work(root, "link@dense", begin(root, clones)), clones, {}, print)


def test_a_bar_of_progress_is_logged_now_and_then(root: Path, clones: CloneFolder) -> None:
    commit(
        root,
        r"for i in $(seq 200); do printf '%d of 200\r' $i; done; echo; mkdir -p made/dense; echo > made/dense/word",
    )
    said: list[str] = []
    run(work(root, "link@dense", begin(root, clones)), clones, {}, said.append)
    assert 1 <= len([line for line in said if line.endswith("of 200")]) <= 3


def _processes(path: Path) -> list[int]:
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < until, f"{path} was not written"
        time.sleep(0.05)
    return [int(line) for line in path.read_text().split()]


def _gone(process: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_terminating_the_guard_ends_the_stage_and_nothing_more_begins(
    root: Path, clones: CloneFolder, tmp_path: Path
) -> None:
    commit(root, _python_stage(tmp_path))
    lock, guard = begin(root, clones), ChildProcessGuard()
    threading.Timer(0, lambda: (_processes(tmp_path / "begun"), guard.terminate())).start()
    with pytest.raises(Stopped):
        run(work(root, "link@dense", lock), clones, {}, print, guard)
    (process,) = _processes(tmp_path / "stopped")
    assert _gone(process)
    with pytest.raises(Stopped, match="before it began"):
        Dvc(root, print, guard=guard)("status")


def test_a_stage_that_is_deaf_is_killed(
    root: Path, clones: CloneFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE_SECONDS", 1.0)
    commit(root, f"trap '' TERM; echo $$ > {tmp_path}/begun; while true; do sleep 1; done")
    lock, guard = begin(root, clones), ChildProcessGuard()
    threading.Timer(0, lambda: (_processes(tmp_path / "begun"), guard.terminate())).start()
    with pytest.raises((Stopped, RuntimeError)):
        run(work(root, "link@dense", lock), clones, {}, print, guard)
    (process,) = _processes(tmp_path / "begun")
    assert _gone(process)


def _python_stage(place: Path) -> str:
    """A stage as ours are: it dies with DVC, and takes its time to end."""
    return f"""exec {sys.executable} -c '
import os, signal, sys, time
from flows.child_process import end_with_parent
end_with_parent()
def end(*_):
    time.sleep(0.5)
    open("{place}/stopped", "w").write(f"{{os.getpid()}}\\n")
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
open("{place}/begun", "w").write(f"{{os.getpid()}}\\n")
time.sleep(600)
'
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_runner_leaves_nothing_behind(
    root: Path, clones: CloneFolder, tmp_path: Path, number: int
) -> None:
    commit(root, _python_stage(tmp_path))
    given = tmp_path / "work.json"
    given.write_text(work(root, "link@dense", begin(root, clones)).model_dump_json())
    program = (
        "import sys; from pathlib import Path\n"
        "from flows.orchestration.checkout import CloneFolder; from flows.orchestration.runner import StageJob, run\n"
        "run(StageJob.model_validate_json(Path(sys.argv[1]).read_text()), CloneFolder.of(sys.argv[2]), {}, print)"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(given), str(clones.folder)])
    (stage,) = _processes(tmp_path / "begun")
    running.send_signal(number)
    running.wait()
    assert _processes(tmp_path / "stopped") == [stage]  # it had the time to write its checkpoint
    assert _gone(stage)

"""The embedded store: made once, whole or not at all, whoever comes at the same moment."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.tracking import store as stores
from flows.tracking.runs import StudyRuns
from flows.tracking.store import Store
from mirl.config import UserError


def test_four_processes_may_open_a_fresh_store_at_the_same_moment(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING")}
    (tmp_path / "mlflow.db.making").write_bytes(b"half")  # left by one that was killed while making it
    program = (  # forks, because four imports of MLflow would take all the time of this test
        "import os, sys; from pathlib import Path\n"
        "from flows.tracking.runs import StudyRuns; from flows.tracking.store import Store\n"
        "read, write = os.pipe()\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        os.close(write); os.read(read, 1)  # until all are there\n"
        "        runs = StudyRuns(Store(Path(sys.argv[1])), 'tiny')\n"
        "        run = runs.make_ticket('f' * 64, 'r1', imported=False).info.run_id\n"
        "        os.write(1, f'{run} '.encode())  # in one piece\n"
        "        os._exit(0)\n"
        "os.close(write)\n"
        "sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(4)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    made = ended.stdout.split()
    assert len(made) == 4
    assert len(set(made)) == 1  # one run, though four wanted to make it
    assert len(StudyRuns(Store(tmp_path), "tiny")._search("tags.`mirl.study` = 'tiny'")) == 1
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_store_shows_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def killed(uri: str, artifacts: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(stores, "SqlAlchemyStore", killed)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path)
    assert not stores.exists(tmp_path)


def test_a_store_that_is_no_database_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match=r"mlflow\.db"):
        StudyRuns(Store(tmp_path), "tiny").parent()

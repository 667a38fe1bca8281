"""The file of the servers' login: who can read it, what wins, and to whom it is told."""

import os
import secrets
import shlex
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows import login
from mirl.config import UserError

PREFECT, MLFLOW = "http://127.0.0.1:4200/api", "http://127.0.0.1:5000"


@pytest.fixture(autouse=True)
def _no_login_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for pair in login.LOGINS.values():
        for name in (*pair.keys(), *pair.values()):
            monkeypatch.delenv(name, raising=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_nobody_else_can_read_it_from_its_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    seen: list[int] = []
    replace = Path.replace

    def look(draft: Path, path: Path) -> Path:
        seen.extend([mode(draft), mode(draft.parent)])
        return replace(draft, path)

    monkeypatch.setattr(Path, "replace", look)
    before = os.umask(umask)
    try:
        login.folder(tmp_path).mkdir(parents=True)  # as somebody may have left it
        login.keep(tmp_path)
    finally:
        os.umask(before)
    assert seen == [0o600, 0o700]
    assert mode(login.file(tmp_path)) == 0o600 and mode(login.folder(tmp_path)) == 0o700


def test_two_that_begin_at_once_draw_one_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = secrets.token_hex
    monkeypatch.setattr("secrets.token_hex", lambda size: (time.sleep(0.02), draw(size))[1])
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: login.keep(tmp_path), range(16)))
    assert all(one == told[0] for one in told) and login.kept(tmp_path) == told[0]
    assert login.keep(tmp_path.parent / "other") != told[0]


def test_a_terminal_takes_it_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", 'me:it\'s $(touch made) a "secret"')
    known = login.keep(tmp_path, PREFECT_API_URL=PREFECT)
    line = f'source {shlex.quote(str(login.file(tmp_path)))}; printf %s "$PREFECT_API_AUTH_STRING"'
    said = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == known["PREFECT_API_AUTH_STRING"] == os.environ["PREFECT_SERVER_API_AUTH_STRING"]
    assert not (tmp_path / "made").exists()
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING")
    assert login.keep(tmp_path) == known  # across restarts


def test_it_is_told_to_the_servers_of_the_folder_only(tmp_path: Path) -> None:
    assert login.lacking(tmp_path, {"PREFECT_API_URL": PREFECT}) == {}
    known = login.keep(tmp_path, PREFECT_API_URL=PREFECT, MLFLOW_TRACKING_URI=MLFLOW)
    secret, password = known["PREFECT_API_AUTH_STRING"], known["MLFLOW_TRACKING_PASSWORD"]
    assert login.lacking(tmp_path, {"PREFECT_API_URL": PREFECT}) == {"PREFECT_API_AUTH_STRING": secret}
    assert login.lacking(tmp_path, {"MLFLOW_TRACKING_URI": MLFLOW}) == {
        "MLFLOW_TRACKING_USERNAME": "mirl",
        "MLFLOW_TRACKING_PASSWORD": password,
    }
    elsewhere = {"PREFECT_API_URL": "http://evil.example:4200/api", "MLFLOW_TRACKING_URI": PREFECT}
    assert login.lacking(tmp_path, elsewhere) == {}
    own = {"PREFECT_API_URL": PREFECT, "PREFECT_API_AUTH_STRING": "me:mine"}
    own |= {"MLFLOW_TRACKING_URI": MLFLOW, "MLFLOW_TRACKING_USERNAME": "me"}
    assert login.lacking(tmp_path, own) == {}


def test_a_spoilt_file_is_said(tmp_path: Path) -> None:
    login.private(login.folder(tmp_path))
    login.file(tmp_path).write_text("export PREFECT_API_AUTH_STRING='mirl:")
    login.file(tmp_path).chmod(0o600)
    with pytest.raises(UserError, match="cannot be read"):
        login.keep(tmp_path)


def test_a_folder_that_cannot_be_closed_is_said(tmp_path: Path) -> None:
    (tmp_path / ".mirl").mkdir()
    login.folder(tmp_path).write_text("")
    with pytest.raises(UserError, match="closed to others"):
        login.keep(tmp_path)


def test_a_login_that_others_could_read_is_not_used(tmp_path: Path) -> None:
    login.keep(tmp_path)
    login.file(tmp_path).chmod(0o644)
    with pytest.raises(UserError, match="^others could read"):
        login.keep(tmp_path)


def test_a_pipe_in_place_of_the_login_is_refused_at_once(tmp_path: Path) -> None:
    login.private(login.folder(tmp_path))
    os.mkfifo(login.file(tmp_path), 0o600)
    with pytest.raises(UserError, match="a pipe"):
        login.keep(tmp_path)

"""Remotes over SSH: whose key is not known, or is another one than before, gets nothing and gives nothing."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from flows.graph import refuse_closed_remote
from flows.orchestration.checkout import git
from flows.orchestration.runner import Dvc
from mirl.config import UserError


class Everybody(asyncssh.SSHServer):
    """Lets everybody in, and counts those who went on after they saw its key."""

    admitted = 0

    def begin_auth(self, username: str) -> bool:
        Everybody.admitted += 1
        return False


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, str]]:
    """Port and public key of an SSH server on this machine."""
    key, loop = asyncssh.generate_private_key("ssh-ed25519"), asyncio.new_event_loop()
    options = {"server_factory": Everybody, "server_host_keys": [key], "sftp_factory": True}
    serving = loop.run_until_complete(asyncssh.listen("127.0.0.1", 0, **options))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield serving.get_port(), key.export_public_key().decode()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    serving.close()
    loop.run_until_complete(asyncio.sleep(0.1))  # its sockets are closed by the loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def study(tmp_path: Path, server: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of DVC with one file, whose remote is on the server; the user knows no host yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / "far").mkdir()
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "data").write_text("pixels")
    for command in (
        ("init", "--quiet", "--no-scm"),
        ("config", "core.analytics", "false"),
        (
            "remote",
            "add",
            "--quiet",
            "--default",
            "far",
            f"ssh://someone@127.0.0.1:{server[0]}{tmp_path}/far",
        ),
        ("add", "--quiet", "data"),
    ):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=folder, check=True)
    Everybody.admitted = 0
    return folder


def know(study: Path, server: tuple[int, str], key: str) -> None:
    (study.parent / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server[0]} {key}")


def pushed(study: Path) -> list[Path]:
    return [path for path in (study.parent / "far").rglob("*") if path.is_file()]


def push(study: Path) -> None:
    Dvc(study, lambda line: None)("push", "data")


def test_a_known_host_gets_what_is_pushed(study: Path, server: tuple[int, str]) -> None:
    know(study, server, server[1])
    refuse_closed_remote(study)
    push(study)
    assert [path.read_text() for path in pushed(study)] == ["pixels"]


@pytest.mark.parametrize("other", ["unknown", "changed"])
def test_another_host_is_refused_in_a_sentence(study: Path, server: tuple[int, str], other: str) -> None:
    if other == "changed":
        before = asyncssh.generate_private_key("ssh-ed25519")
        know(study, server, before.export_public_key().decode())
    with pytest.raises(UserError) as refused:
        refuse_closed_remote(study)
    assert "Host key is not trusted" in str(refused.value) and "known_hosts" in str(refused.value)
    with pytest.raises(UserError, match="dvc push data: .*Host key is not trusted"):
        push(study)
    assert (Everybody.admitted, pushed(study)) == (0, [])


def test_the_command_for_people_checks_as_well(study: Path, server: tuple[int, str]) -> None:
    command = [sys.executable, "-m", "flows.remote", "push"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    refused = subprocess.run(
        command,
        cwd=study,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert refused.returncode and "Traceback" not in refused.stderr
    assert (Everybody.admitted, pushed(study)) == (0, [])


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is missing")
def test_git_says_that_it_does_not_know_a_host(
    study: Path, server: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -F none -o BatchMode=yes")  # a terminal would be asked
    with pytest.raises(UserError, match="Host key verification failed"):
        git(study, "ls-remote", f"ssh://someone@127.0.0.1:{server[0]}/there.git")
    assert Everybody.admitted == 0

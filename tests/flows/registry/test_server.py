"""The registry behind MLflow's own server: what a listing names is looked at before anything is fetched."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows import registry
from flows.registry import model_files
from flows.registry.card import Card
from flows.registry.registered_model import RegisteredModel, number
from flows.tracking.store import Store
from tests.flows.registry.tiny import CHAMPION, alias, answers, scored


@pytest.fixture
def files(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which a server keeps the files of the study's runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--port",
        address.rpartition(":")[2],
        "--workers",
        "1",
    ]
    command += [
        "--backend-store-uri",
        f"sqlite:///{root / 'mlflow.db'}",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 180
        while not answers(f"{address}/health"):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield tmp_path / "kept"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def test_a_version_behind_a_server_is_compared_file_by_file(
    files: Path, root: Path, decided: Callable[..., None]
) -> None:
    decided()
    registry.promote(root, scored)
    assert registry.promote(root, scored).version == "1"
    ticket = root / "tickets/global-r1/ticket.safetensors"
    assert registry.download(CHAMPION).read_bytes() == ticket.read_bytes()
    assert registry.download(CHAMPION).is_relative_to(root / ".mirl" / "registry")
    registered, fresh = RegisteredModel(Store(root)), root / "fresh"
    model_files.save(ticket, fresh)
    version = registered.aliased("champion")
    assert version is not None and number(version) == "1" and version.source
    (folder,) = files.glob(f"**/{version.source.rpartition('/')[2]}")
    artifacts = registered.artifacts(version)
    assert artifacts.difference(fresh) == ""
    for change in ("code/evil.py", "code/mirl/evil/__init__.py"):
        (folder / change).parent.mkdir(exist_ok=True)
        (folder / change).write_text("x")
        assert change.startswith(artifacts.difference(fresh)) and artifacts.difference(fresh)
        (folder / change).unlink()
    (folder / "code/mirl/evil").rmdir()
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(text.replace("base64", "base46", 1))  # of the same size
    assert artifacts.difference(fresh) == "model.py"
    assert "another model.py" in registry.promote(root, scored).said
    assert (alias(root, "champion"), alias(root, "previous")) == ("2", None)
    (folder / "code/mirl/%2e%2e").write_text("x")
    assert registered.difference(version, Card.of(version), fresh) == "name of a file"

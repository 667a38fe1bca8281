"""The registered model behind MLflow's own server, asked as docs/serving.md says."""

import io
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.registry import model_files
from flows.registry.card import Card
from flows.registry.registered_model import CHAMPION, RegisteredModel
from flows.tracking.importing import sync
from flows.tracking.store import Store
from mirl.restore.image_file import decode
from mirl.restore.restorer import Restorer
from mirl.tickets.reading import read
from tests.documented import documented, environment, run_against
from tests.flows.registry.tiny import answers


@pytest.fixture
def champion(root: Path, make_ticket: Callable[..., Path], tmp_path: Path) -> Path:
    """The ticket file of a champion; the current folder is its study's."""
    ticket = make_ticket() / "ticket.safetensors"
    model_files.save(ticket, tmp_path / "fresh")
    card = Card(sha256=read(ticket).sha256, ticket="global-r1", study="tiny")
    (synced,) = sync(root, ["global-r1"])
    registered = RegisteredModel(Store(root))
    registered.point(CHAMPION, registered.add(tmp_path / "fresh", synced.run_id, card))
    return ticket


@pytest.fixture
def port(champion: Path, tmp_path: Path) -> Iterator[int]:
    """Where MLflow serves the champion: by the documented command, but for a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = documented("mlflow serves the champion").replace("--port 5001", f"--port {port}")
    assert str(port) in command
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(["bash", "-c", f"exec {command}"], env=environment(), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()  # and with it, uvicorn: it asks to be told when its parent dies
        process.wait(30)
        log.close()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_mlflow_serves_the_champion_and_the_documented_line_restores_a_jpeg(
    champion: Path, port: int, tmp_path: Path
) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    image_HWC = np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8)
    Image.fromarray(image_HWC).save(folder / "photo.jpg")
    run_against("mlflow restores a JPEG", folder, port)
    before_HWC = decode((folder / "photo.jpg").read_bytes(), "photo.jpg").rgb_HWC
    expected_HWC = Restorer(read(champion))(before_HWC)
    with Image.open(io.BytesIO((folder / "restored.png").read_bytes())) as restored:
        assert restored.format == "PNG"
        np.testing.assert_array_equal(np.asarray(restored), expected_HWC)
    assert not np.array_equal(expected_HWC, before_HWC)

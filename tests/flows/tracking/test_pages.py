import socket
from pathlib import Path

import pytest

from flows.tracking.__main__ import main


def test_a_port_that_is_taken_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--root", str(tmp_path), "ui", "--port", str(port)]) == 2
    said = capsys.readouterr()
    assert f"serves at port {port} already" in said.err and "choose another" in said.err
    assert "MLflow's pages" not in said.out

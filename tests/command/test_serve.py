import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from mirl.command.main import main, parser
from mirl.serve.limits import Limits
from tests.serve.conftest import encoded


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [("max_pixels", "24M", 24_000_000), ("max_pixels", "0.5m", 500_000), ("max_bytes", "20M", 20 * 2**20),
     ("timeout", "1.5", 1.5), ("queue", "3", 3), ("threads", "2", 2)],
)  # fmt: skip
def test_limits_are_understood(option: str, text: str, expected: float) -> None:
    wanted = parser().parse_args(["serve", f"--{option.replace('_', '-')}", text])
    assert getattr(wanted, option) == expected


def test_limits_left_out_are_those_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = parser().parse_args(["serve"])
    said = Limits(
        bytes=wanted.max_bytes, pixels=wanted.max_pixels, seconds=wanted.timeout, queue=wanted.queue
    )
    assert said == Limits()
    assert (wanted.max_bytes, wanted.max_pixels) == (20 * 2**20, 24_000_000)  # 20M and 24M, as it says


@pytest.mark.parametrize(
    "argument", ["--max-pixels=0", "--max-pixels=1G", "--queue=0", "--timeout=0", "--timeout=x", "--port=x"]
)
def test_other_limits_are_bad_usage(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", argument])
    assert capsys.readouterr().err.count("\n") == 1


def test_a_taken_port_is_said(ticket_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--ticket", str(ticket_file), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port} (it is taken); choose another --port" in said and said.count("\n") == 1


def test_a_damaged_ticket_is_said(ticket_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket_file.write_bytes(ticket_file.read_bytes()[:-3])
    assert main(["serve", "--ticket", str(ticket_file), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert str(ticket_file) in said and said.count("\n") == 1


WITHOUT_EXTRA = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("fastapi", "uvicorn", "prometheus_client"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from mirl.command.main import main
sys.exit(main(["serve", "--ticket", "t"]))
"""


def test_what_is_missing_without_the_extra_is_said() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(
        r"mirl: error: a server needs \w+; install mirl with its extra `serve`\n", done.stderr
    )


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_what_was_begun_is_finished_when_told_to_stop(
    sent: signal.Signals, code: int, ticket_file: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "mirl.command.main",
        "serve",
        "--ticket",
        str(ticket_file),
        "--port",
        "0",
    ]
    picture = encoded(np.zeros((1500, 1500, 3), np.uint8))
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a script begins in the background ignores SIGINT, and what that begins as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout and process.stderr
        found = re.search(r"http://([\d.]+):(\d+);", process.stdout.readline())
        assert found
        with socket.create_connection((found[1], int(found[2])), timeout=30) as client:
            head = f"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n\r\n"
            client.sendall(head.encode() + picture)
            while _taken(found[0].rstrip(";")) == 0:
                pass
            process.send_signal(sent)
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        said = process.stderr.read()
    assert process.returncode == code
    assert "Traceback" not in said


def _taken(address: str) -> float:
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        found = re.search(r"^mirl_slots_taken (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])

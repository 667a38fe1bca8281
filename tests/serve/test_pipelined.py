"""Clients that send more before they have their answer: no clock, no slot and no turn of the loop is theirs for it."""

import socket
import time
from collections.abc import Callable

import numpy as np
import pytest

from mirl.serve.connection import BEHIND_SECONDS
from tests.serve.conftest import Server, encoded, noise, post, restoring_process, wait_until
from tests.serve.test_hostile import stopped

SMALL = encoded(noise(8, 8))
CHUNK = b"1\r\nx\r\n"
BEGUN = b"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(start: Callable[..., Server]) -> Server:
    return start("--queue", "2", "--timeout", "10")


@pytest.mark.parametrize("content_type", [b"text/html", b"image/png"])
def test_a_body_in_tiny_chunks_ends_the_connection(impatient: Server, content_type: bytes) -> None:
    with impatient.open() as client:
        client.sendall(BEGUN % content_type)
        with pytest.raises(OSError):
            for _ in range(200):
                client.sendall(CHUNK * 10_000)
        assert impatient.ask("/health").status == 200


def test_a_body_in_large_chunks_is_taken(impatient: Server) -> None:
    with impatient.open() as client:
        client.sendall(BEGUN % b"image/png")
        for byte in SMALL:
            client.sendall(b"1\r\n" + bytes([byte]) + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_pause_within_a_body_is_no_request_behind_it(impatient: Server) -> None:
    with impatient.open() as client:
        client.sendall(BEGUN % b"image/png")
        for part in (b"%x" % len(SMALL), b"\r\n" + SMALL + b"\r", b"\n0\r\n\r", b"\n"):
            client.sendall(part)
            time.sleep(2 * BEHIND_SECONDS)  # that it is not cut in this time is what is asked
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_chunks_are_counted_for_each_body(impatient: Server) -> None:
    with impatient.open() as client:
        for _ in range(5):
            client.sendall(BEGUN % b"text/html" + CHUNK * 900 + b"0\r\n\r\n")
            said = b""
            while not said.endswith(b"}"):
                said += client.recv(65536)
            assert said.startswith(b"HTTP/1.1 415")


@pytest.mark.parametrize("more", [b"G", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\r\n"])
@pytest.mark.parametrize("apart", [True, False])
def test_what_comes_behind_a_picture_ends_the_connection(impatient: Server, more: bytes, apart: bool) -> None:
    with stopped(restoring_process(impatient)):
        client = impatient.open()
        client.sendall(post(SMALL) + (b"" if apart else more))
        if apart:
            wait_until(lambda: impatient.metrics()["mirl_slots_taken"] == 1)
            client.sendall(more)
        wait_until(lambda: impatient.metrics()["mirl_slots_taken"] == 0)
        with client, pytest.raises(ConnectionError):
            assert client.recv(1) == b""
            raise ConnectionError
    wait_until(lambda: impatient.ask("/ready").status == 200, 60)


def test_who_asks_on_and_fetches_nothing_holds_no_slot(impatient: Server) -> None:
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    clients = []
    for _ in range(3):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((impatient.host, impatient.port))
        client.setblocking(False)
        client.send(asked * 40 + post(SMALL))
        clients.append(client)
    began = time.monotonic()
    wait_until(lambda: all(is_cut(client) for client in clients), 60)
    assert time.monotonic() - began > 1
    assert impatient.metrics()["mirl_slots_taken"] == 0
    for client in clients:
        client.close()


def is_cut(client: socket.socket) -> bool:
    """Whether the server has cut it; what it sent before is not fetched."""
    try:
        client.send(b"x")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def test_a_thread_of_a_picture_is_refused(impatient: Server) -> None:
    answer = impatient.restore(encoded(np.zeros((1, 70_000, 3), np.uint8)))
    assert answer.status == 413 and "at most 65535" in answer.error

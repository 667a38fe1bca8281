"""Nothing that a client does makes the server hang, grow or stop."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.serve.conftest import (
    Answer,
    Server,
    decoded,
    encoded,
    noise,
    post,
    resident_kib,
    restoring_process,
    wait_until,
)


@pytest.fixture(scope="module")
def impatient(start: Callable[..., Server]) -> Server:
    return start("--timeout", "2", "--queue", "1")


def until_closed(client: socket.socket) -> tuple[bytes, float]:
    """What the server still says, and the seconds until it hangs up."""
    began, said = time.monotonic(), b""
    try:
        while piece := client.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said, time.monotonic() - began


def slots_taken(server: Server) -> int:
    return int(server.metrics()["mirl_slots_taken"])


def idle(server: Server) -> None:
    """Wait until nobody has a slot, and a process restores; fails where either never comes."""
    wait_until(lambda: not slots_taken(server) and server.ask("/ready").status == 200)


def test_a_hundred_clients_at_once_are_all_answered(server: Server) -> None:
    picture = noise(250, 300)
    data, before, memory = encoded(picture), server.outcomes(), resident_kib(server.process.pid)
    with ThreadPoolExecutor(100) as clients:
        answers: list[Answer] = list(clients.map(lambda _: server.restore(data), range(100)))
    found = Counter(answer.status for answer in answers)
    assert set(found) == {200, 503}, found
    assert found[200] >= 3  # one restored, two waiting, at the least
    for answer in answers:
        if answer.status == 503:
            assert "wait already" in answer.error and int(answer.headers["Retry-After"]) >= 1
        else:
            np.testing.assert_array_equal(decoded(answer.body), picture)
    idle(server)
    after = server.outcomes()
    assert after["full"] - before["full"] == found[503]
    assert after["restored"] - before["restored"] == found[200]
    assert resident_kib(server.process.pid) - memory < 50 * 1024


@pytest.mark.parametrize("size", [301 * 2**10, 5 * 2**20])
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "without"])
def test_a_body_that_is_too_large_is_refused(size: int, chunked: bool, server: Server) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (bytes(2**16) for _ in range(-(-size // 2**16)))

    answer = server.ask("/restore", pieces() if chunked else bytes(size))
    assert answer.status == 413 and "make its file smaller" in answer.error


def test_a_body_is_not_waited_for_when_it_says_that_it_is_too_large(server: Server) -> None:
    with server.open() as client:
        client.sendall(b"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_body_that_is_longer_than_it_says_is_cut(server: Server) -> None:
    data = encoded(noise(9, 9))
    with server.open() as client:
        head = f"POST /restore HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data) - 40}\r\n\r\n"
        client.sendall(head.encode() + data)
        assert until_closed(client)[0].startswith(b"HTTP/1.1 422")


def test_a_full_server_does_not_ask_for_the_body(impatient: Server) -> None:
    with impatient.open() as first, impatient.open() as second, impatient.open() as third:
        for client in (first, second):
            client.sendall(b"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1234")
        wait_until(lambda: slots_taken(impatient) == 2)
        third.sendall(
            b"POST /restore HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
        assert third.recv(65536).startswith(b"HTTP/1.1 503")
    idle(impatient)


@pytest.mark.parametrize(
    "sent", [b"", b"POST /restore HTTP/1.1\r\nHost: localhost\r\n"], ids=["nothing", "half"]
)
def test_who_does_not_finish_asking_is_cut_off(sent: bytes, impatient: Server) -> None:
    with impatient.open() as client:
        client.sendall(sent)
        said, seconds = until_closed(client)
        assert said == b"" and 1 < seconds < 10


def test_who_sends_the_picture_too_slowly_is_told_so(impatient: Server) -> None:
    before = impatient.outcomes()["slow"]
    with impatient.open() as client:
        client.sendall(b"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n12345")
        said, seconds = until_closed(client)
        assert said.startswith(b"HTTP/1.1 408") and b"did not arrive within 2 s" in said
        assert 1 < seconds < 10  # and is cut off when nothing more comes
    assert impatient.outcomes()["slow"] == before + 1


def large() -> bytes:
    """Some KB, and as many pixels as the server takes: that keeps it busy for seconds."""
    return encoded(np.zeros((4000, 6000, 3), np.uint8))


def test_what_takes_too_long_is_given_up_and_the_next_is_restored(impatient: Server) -> None:
    data = large()
    began = time.monotonic()
    answer = impatient.restore(data)
    assert answer.status == 504 and "not restored within 2 s" in answer.error
    assert time.monotonic() - began < 6
    # It is given up after a tile, or the process is begun again: either may take longer than the next may.
    wait_until(lambda: impatient.restore(encoded(noise(8, 8))).status == 200)


def test_nothing_is_restored_for_those_who_have_gone(server: Server) -> None:
    before, data = server.metrics(), encoded(noise(200, 200))
    slow = encoded(np.zeros((2000, 2000, 3), np.uint8))
    with ThreadPoolExecutor(1) as one:
        busy = one.submit(server.restore, slow)
        wait_until(lambda: slots_taken(server) == 1)
        for _ in range(2):
            with server.open() as client:
                client.sendall(post(data))
                wait_until(lambda: slots_taken(server) == 2)
            wait_until(lambda: slots_taken(server) == 1)  # the slot is given back at once
        assert not busy.done()
        assert busy.result().status == 200
    assert server.restore(encoded(noise(8, 8))).status == 200  # after whatever waited
    after = server.metrics()
    assert after['mirl_requests_total{outcome="gone"}'] - before['mirl_requests_total{outcome="gone"}'] == 2
    assert after["mirl_pixels_total"] - before["mirl_pixels_total"] == 4_000_000 + 64


@pytest.mark.parametrize("then", ["keep-alive", "close"])
def test_who_does_not_fetch_the_answer_gives_the_slot_back_and_is_cut_off(
    then: str, impatient: Server
) -> None:
    data, files = (
        encoded(noise(1500, 1500), "PNG", compress_level=1),
        Path(f"/proc/{impatient.process.pid}/fd"),
    )
    before = len(list(files.iterdir()))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((impatient.host, impatient.port))
        client.sendall(post(data).replace(b"Host", f"Connection: {then}\r\nHost".encode(), 1))
        wait_until(lambda: slots_taken(impatient) == 1)
        idle(impatient)
        wait_until(lambda: len(list(files.iterdir())) <= before)


def test_who_breaks_a_body_and_fetches_nothing_is_cut_off(impatient: Server) -> None:
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400
    broken = b"POST /restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"
    files = Path(f"/proc/{impatient.process.pid}/fd")
    before = len(list(files.iterdir()))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((impatient.host, impatient.port))
        client.sendall(asked + broken)
        wait_until(lambda: len(list(files.iterdir())) > before)
        wait_until(lambda: len(list(files.iterdir())) <= before)


def test_a_process_that_dies_idle_is_begun_again(server: Server) -> None:
    before = server.metrics()["mirl_restarts_total"]
    os.kill(restoring_process(server), signal.SIGKILL)
    wait_until(lambda: server.ask("/ready").status == 503)
    wait_until(lambda: server.ask("/ready").status == 200)  # though nobody asks for a picture
    assert server.metrics()["mirl_restarts_total"] == before + 1
    assert server.restore(encoded(noise(8, 8))).status == 200


def test_a_picture_that_kills_the_process_is_refused_alone(impatient: Server) -> None:
    before = impatient.metrics()["mirl_wait_seconds_count"]
    with ThreadPoolExecutor(1) as one:
        deadly = one.submit(impatient.restore, large())
        wait_until(lambda: impatient.metrics()["mirl_wait_seconds_count"] == before + 1)
        os.kill(restoring_process(impatient), signal.SIGKILL)
        assert deadly.result().status == 500 and "begun again" in deadly.result().error
    idle(impatient)
    assert impatient.restore(encoded(noise(8, 8))).status == 200


def test_a_busy_process_ends_with_a_server_that_is_killed(start: Callable[..., Server]) -> None:
    server = start()
    restoring = Path(f"/proc/{restoring_process(server)}")
    with server.open() as client:
        data = large()
        client.sendall(post(data))
        wait_until(lambda: server.metrics()["mirl_wait_seconds_count"] == 1)
        server.process.kill()
        wait_until(lambda: not restoring.exists() or "\nState:\tZ" in (restoring / "status").read_text())

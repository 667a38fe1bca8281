"""Forms of HTTP that a proxy may read otherwise than the server are refused, and the connection with them."""

import json
import re

import pytest

from tests.serve.conftest import Server

POST = b"POST /restore HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /limits HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""Follows each form: where another reads the form otherwise, it is a request of its own."""

FORMS = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "lengths in a list": POST + b"Content-Length: 4, 5\r\n\r\nabcd",
    "length with a sign": POST + b"Content-Length: +4\r\n\r\nabcd",
    "negative length": POST + b"Content-Length: -4\r\n\r\nabcd",
    "length in hex": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "empty length": POST + b"Content-Length:\r\n\r\nabcd",
    "huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "continued line": GET + b"X-A: b\r\n c\r\n\r\n",
    "continued chunked": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "line feeds": GET.replace(b"\r\n", b"\n") + b"\n",
    "one line feed": GET + b"X-A: b\nX-B: c\r\n\r\n",
    "line feed at the end": GET + b"X-A: b\r\n\n",
    "carriage return": GET + b"X-A: b\rX-B: c\r\n\r\n",
    "gzip": POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "gzip and chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "tab before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "space before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "space before a header": b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "chunks in 1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "whole address": b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tunnel": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no slash": b"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.9": GET.replace(b"1.1", b"1.9") + b"\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "NUL in a header": GET + b"X-A: a\x00b\r\n\r\n",
    "NUL in the path": b"GET /hea\x00lth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "control character": GET + b"X-A: a\x01b\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "chunk with an extension": CHUNKED + b"1;a=b\r\nx\r\n0\r\n\r\n",
    "chunk with a space": CHUNKED + b"1 \r\nx\r\n0\r\n\r\n",
    "chunk in hex": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "chunk of 2**64 bytes": CHUNKED + b"10000000000000001\r\nx\r\n0\r\n\r\n",
    "chunk that is longer": CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n",
    "chunk with line feeds": CHUNKED + b"1\nx\n0\n\n",
    "line feed after chunks": CHUNKED + b"1\r\nx\r\n0\r\n\n",
    "line feed in a trailer": CHUNKED + b"1\r\nx\r\n0\r\nX-T: 1\n\r\n",
    "long path": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many headers": GET + b"".join(b"X-%d: y\r\n" % i for i in range(3000)) + b"\r\n",
}  # fmt: skip


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", said)]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("split", [False, True], ids=["at once", "in pieces"])
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_after_it(
    name: str, split: bool, server: Server
) -> None:
    data, said = FORMS[name] + HIDDEN, b""
    with server.open() as client:
        pieces = [data[i : i + 7] for i in range(0, len(data), 7)] if split and len(data) < 1000 else [data]
        try:
            for piece in pieces:
                client.sendall(piece)
            while piece := client.recv(65536):
                said += piece
        except ConnectionError:
            assert split or len(data) > 1000  # refused while it was still being sent
    assert statuses(said) == [400] or (split and not said), said
    if said:
        head, _, body = said.partition(b"\r\n\r\n")
        assert list(json.loads(body)) == ["error"] and b"nosniff" in head and b"Connection: close" in head


def test_what_is_right_is_answered_request_after_request(server: Server) -> None:
    with server.open() as client:
        client.sendall(
            GET + b"X-Folded:\ta\t b \r\n\r\n" + CHUNKED + b"1\r\nx\r\n00\r\nX-Trailer: 1\r\n\r\n"
            + GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + GET + b"Connection: close\r\n\r\n"
        )  # fmt: skip
        said = b""
        while piece := client.recv(65536):
            said += piece
    assert statuses(said) == [200, 415, 200, 200]


def test_a_body_that_breaks_after_its_refusal_ends_the_connection(server: Server) -> None:
    with server.open() as client:
        client.sendall(POST + b"Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")
        said = client.recv(65536)
        client.sendall(b"xyz" + HIDDEN)
        while piece := client.recv(65536):
            said += piece
    assert statuses(said) == [415]

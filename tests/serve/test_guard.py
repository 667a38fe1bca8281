"""Pages of other sites cannot use the server, and it is asked for by its own names only."""

import http.client
from collections.abc import Callable
from pathlib import Path

import pytest

from mirl.command.main import main
from mirl.config import UserError
from mirl.serve.hosts import Address, Hosts
from tests.serve.conftest import Server, encoded, noise

PICTURE = encoded(noise(8, 8))
HERE = "the server's own origin"


def sent(server: Server, method: str, path: str, headers: dict[str, str]) -> int:
    """The status; the host is the server's unless `headers` has another."""
    own = {name: server.address if value == HERE else value for name, value in headers.items()}
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.request(method, path, PICTURE if method == "POST" else None, own)
        answer = connection.getresponse()
        answer.read()
        assert not {name for name in answer.headers if name.lower().startswith("access-control")}
        assert "Location" not in answer.headers
        return answer.status
    finally:
        connection.close()


FOREIGN = [
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost"},
    {"Origin": "HTTP://EVIL.EXAMPLE"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "Cross-Site"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_origin_is_refused(headers: dict[str, str], server: Server) -> None:
    before = server.outcomes()
    assert sent(server, "POST", "/restore", headers) == 403
    after = server.outcomes()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "foreign": 1
    }
    paths = ("/ticket", "/limits", "/metrics", "/openapi.json", "/nothing", "/page.js")
    assert {sent(server, "GET", path, headers) for path in paths} == {403}


def test_a_form_of_another_page_is_refused_though_its_window_goes_along(server: Server) -> None:
    window = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert sent(server, "POST", "/restore", window) == 403
    assert sent(server, "GET", "/", window) == 200  # a person follows a link


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": HERE}, {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}],
    ids=str,
)
def test_programs_people_and_the_own_page_are_served(headers: dict[str, str], server: Server) -> None:
    assert sent(server, "POST", "/restore", headers) == 200
    assert sent(server, "GET", "/ticket", headers) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "localhost@evil.example", "evil.example#localhost", "127.0.0.1.nip.io",
     "", "localhost:", "localhost:x", "localhost, evil.example", "0.0.0.0", "[::2]", "127.1", "lo\xe7alhost", ".."],
)  # fmt: skip
def test_another_host_is_refused(host: str, server: Server) -> None:
    for path in ("/", "/ticket", "/health", "/health/", "//evil.example/"):
        assert sent(server, "GET", path, {"Host": host}) == 421
    before = server.outcomes()["misdirected"]
    assert sent(server, "POST", "/restore", {"Host": host}) == 421
    assert server.outcomes()["misdirected"] == before + 1


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "localhost.", "127.0.0.1:65535", "[::1]:8000"])
def test_its_own_names_are_known_on_every_port(host: str, server: Server) -> None:
    assert sent(server, "GET", "/health", {"Host": host}) == 200


def test_nothing_is_redirected(server: Server) -> None:
    assert sent(server, "GET", "/health/", {}) == 404
    assert sent(server, "GET", "//evil.example/%2e%2e", {}) == 404


def test_behind_a_proxy_it_goes_by_the_name_that_is_given(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as log:
        server = start("--host", "0.0.0.0", "--allow-host", "Mirl.example:8443", log=log)
    assert (tmp_path / "log").read_text().count("\n") == 1
    assert "is open to everybody" in (tmp_path / "log").read_text()
    behind = {"Host": "mirl.example", "Origin": "https://mirl.example:8443"}
    assert sent(server, "POST", "/restore", behind) == 200
    assert (
        sent(server, "POST", "/restore", {"Origin": "https://mirl.example:8443"}) == 200
    )  # Host not handed on
    assert sent(server, "POST", "/restore", behind | {"Origin": "https://mirl.example:9"}) == 403
    assert sent(server, "GET", "/health", {"Host": "10.0.0.5:8000"}) == 200  # by whatever address it has
    assert sent(server, "GET", "/health", {"Host": "evil.example"}) == 421


def test_every_name_may_be_allowed_and_none_that_is_malformed() -> None:
    assert Hosts(address=Address(names=("*",)), bound="127.0.0.1").knows("evil.example")
    assert not Hosts(address=Address(names=("*",)), bound="127.0.0.1").own("http://evil.example", "localhost")
    for name in ("", "http://x", "a b", "*.example", "x/y", "u@x"):
        with pytest.raises(UserError, match="no name of a host"):
            Address(names=(name,))


@pytest.mark.parametrize(
    "path", ["/", "/ticket", "/limits", "/health", "/ready", "/metrics", "/openapi.json", "/page.js"]
)
def test_head_is_get_without_its_body(path: str, server: Server) -> None:
    get, head = server.ask(path), server.ask(path, method="HEAD")
    left_out = {"date"} | ({"content-length"} if path == "/metrics" else set())  # numbers go on
    named = [
        {k.lower(): v for k, v in one.headers.items() if k.lower() not in left_out} for one in (get, head)
    ]
    assert (head.status, head.body, named[1]) == (get.status, b"", named[0])
    assert int(head.headers["Content-Length"]) > 0
    for method in ("POST", "PUT", "OPTIONS", "TRACE"):
        refused = server.ask(path, method=method)
        assert refused.status == 405 and refused.error
        assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_all_accept_lines_count(server: Server) -> None:
    def lines(*accept: str) -> tuple[int, str]:
        head = "".join(f"Accept: {one}\r\n" for one in accept)
        with server.open() as client:
            request = (
                f"POST /restore HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(PICTURE)}\r\n\r\n"
            )
            client.sendall(request.encode() + PICTURE)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return answer.status, answer.headers["Content-Type"]

    assert lines("text/html", "image/webp") == (200, "image/webp")
    assert lines("image/png;q=0", "image/webp;q=0.1, image/jpeg;q=0.2") == (200, "image/jpeg")
    assert lines("text/html", "text/plain")[0] == 406
    assert lines("image/png;q=7", "image/png;q=x")[0] == 406  # malformed is not wanted


def test_a_name_that_is_none_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--ticket", "t", "--allow-host", "http://x"]) == 2
    assert "no name of a host" in capsys.readouterr().err

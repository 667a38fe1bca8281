"""What a client gets: restored pictures, facts, and clear answers to what cannot be restored."""

import io
import json
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirl.serve.formats import MEDIA_TYPES
from mirl.serve.refusal import STATUS
from mirl.tickets import writing
from mirl.tickets.reading import read
from tests.documented import run_against
from tests.routed_ticket import routed_ticket
from tests.serve.conftest import Server, decoded, encoded, noise

PICTURE = noise(30, 41)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_picture_comes_back_restored(server: Server, nothing: Path) -> None:
    answer = server.restore(encoded(PICTURE), Content_Type="image/png")
    assert answer.status == 200 and answer.headers["Content-Type"] == "image/png"
    np.testing.assert_array_equal(decoded(answer.body), PICTURE)
    assert answer.headers["X-Mirl-Ticket"] == read(nothing).lineage.name
    assert float(answer.headers["X-Mirl-Density"]) == 1
    assert 0 < float(answer.headers["X-Mirl-Seconds"]) < 20


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_documented_line_restores_a_jpeg(server: Server, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "photo.jpg", quality=95)
    run_against("mirl serve restores a JPEG", tmp_path, server.port)
    with Image.open(tmp_path / "restored.jpg") as restored, Image.open(tmp_path / "photo.jpg") as before:
        assert restored.format == "JPEG" and restored.size == before.size
        assert np.abs(np.asarray(restored, int) - np.asarray(before, int)).mean() < 8  # encoded once more


@pytest.mark.parametrize(
    ("own", "accept", "expected"),
    [
        ("JPEG", "", "JPEG"),
        ("WEBP", "image/*", "WEBP"),
        ("JPEG", "image/png", "PNG"),
        ("PNG", "image/webp, */*;q=0.1", "PNG"),
    ],
)
def test_the_format_is_that_of_the_picture_unless_accept_leaves_it_out(
    own: str, accept: str, expected: str, server: Server
) -> None:
    answer = server.restore(encoded(PICTURE, own), **({"Accept": accept} if accept else {}))
    assert answer.headers["Content-Type"] == f"image/{expected.lower()}"
    assert Image.open(io.BytesIO(answer.body)).format == expected


@pytest.mark.parametrize(
    ("data", "headers", "outcome", "says"),
    [
        (b"", {}, "empty", "send the bytes of a picture"),
        (b"no picture", {}, "wrong_type", "image/png"),
        (encoded(PICTURE, "GIF"), {"Content_Type": "image/gif"}, "wrong_type", "image/png"),
        (encoded(PICTURE), {"Content_Type": "text/plain"}, "wrong_type", "said to be text/plain"),
        (encoded(PICTURE), {"Content_Type": "multipart/form-data; boundary=x"}, "wrong_type", "multipart"),
        (encoded(PICTURE)[:-200], {}, "broken", "broken or cut off"),
        (encoded(PICTURE, "JPEG")[:500], {}, "broken", "broken or cut off"),
        (encoded(PICTURE)[:20], {}, "broken", "broken or cut off"),
        (png_header(50_000, 50_000), {}, "too_large", "at most 4 million"),
        (png_header(2_001, 2_000), {}, "too_large", "2001 x 2000 pixels, expected at most 4 million"),
        (encoded(noise(320, 330)), {}, "too_large", "0.292969 MiB"),
        (encoded(PICTURE), {"Accept": "text/html"}, "no_such_format", "Accept asks for text/html"),
        (encoded(PICTURE), {"Accept": "image/png;q=0"}, "no_such_format", "image/png;q=0"),
        (
            encoded(np.dstack([PICTURE, PICTURE[..., 0]])),
            {"Accept": "image/jpeg"},
            "broken",
            "JPEG cannot hold transparency",
        ),
    ],
)
def test_what_cannot_be_restored_is_answered_in_a_sentence_and_counted(
    data: bytes, headers: dict[str, str], outcome: str, says: str, server: Server
) -> None:
    before = server.outcomes()
    answer = server.restore(data, **headers)
    assert answer.status == STATUS[outcome]
    assert says in answer.error
    after = server.outcomes()
    assert {name for name in after if after[name] != before[name]} == {outcome}
    assert after[outcome] == before[outcome] + 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
def test_restore_takes_post_alone(method: str, server: Server) -> None:
    before = server.outcomes()["wrong_method"]
    answer = server.ask("/restore", method=method)
    assert answer.status == 405 and answer.headers["Allow"] == "POST"
    assert method == "HEAD" or f"does not take {method}" in answer.error
    assert server.outcomes()["wrong_method"] == before + 1


def test_another_path_is_answered_in_a_sentence(server: Server) -> None:
    answer = server.ask("/restores")
    assert answer.status == 404 and "no /restores here" in answer.error


def test_the_ticket_is_described(server: Server, nothing: Path) -> None:
    ticket = read(nothing)
    said = json.loads(server.ask("/ticket").body)
    assert said["sha256"] == ticket.sha256 and said["network"] == ticket.network.spec()
    assert said["density"] == ticket.densities._asdict()
    assert said["bytes"] == nothing.stat().st_size
    assert json.loads(server.ask("/limits").body) == {
        "bytes": 300 * 2**10,
        "pixels": 4 * 10**6,
        "seconds": 20,
        "queue": 2,
    }


def test_it_is_alive_and_ready(server: Server) -> None:
    assert json.loads(server.ask("/health").body) == {"status": "alive"}
    answer = server.ask("/ready")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ready"})


def test_metrics_measure_what_was_restored(server: Server) -> None:
    before = server.metrics()
    server.restore(encoded(PICTURE))
    after = server.metrics()
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown["mirl_pixels_total"] == PICTURE.shape[0] * PICTURE.shape[1]
    assert grown["mirl_restore_seconds_count"] == grown["mirl_wait_seconds_count"] == 1
    assert grown['mirl_requests_total{outcome="restored"}'] == 1
    assert 0 < grown["mirl_restore_seconds_sum"] < 20
    assert (after["mirl_queue_length"], after["mirl_slots_taken"]) == (0, 0)


def test_the_api_describes_itself(server: Server) -> None:
    described = json.loads(server.ask("/openapi.json").body)["paths"]
    assert set(described) == {"/restore", "/ticket", "/limits", "/health", "/ready", "/metrics"}
    restore = described["/restore"]["post"]
    assert set(restore["requestBody"]["content"]) == set(MEDIA_TYPES.values())
    assert {"200", "413", "415", "422", "503", "504"} <= set(restore["responses"])


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js"])
def test_the_page_may_load_nothing_from_elsewhere(path: str, server: Server) -> None:
    answer = server.ask(path)
    assert answer.status == 200
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    text = answer.body.decode()
    assert set(re.findall(r"https?://[^\s'\"]+", text)) <= {
        "http://www.w3.org/2000/svg"
    }  # a name, not a place
    assert not re.search(r"<style|<script>|\s(style|on[a-z]+)=[\"']", text)
    head = server.ask(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")


def test_a_share_of_the_work_can_be_asked_for(
    start: Callable[..., Server], make_ticket: Any, tmp_path: Path
) -> None:
    writing.write(routed_ticket(make_ticket, "nafnet"), tmp_path / "ticket.safetensors")
    brighter_HWC = (noise(70, 40) * np.linspace(0.1, 1, 40)[:, None]).astype(np.uint8)
    server, picture = start(ticket=tmp_path / "ticket.safetensors"), encoded(brighter_HWC)
    bodies = {work: server.ask(f"/restore?work={work}", picture).body for work in ("0.3", "0.5", "1")}
    assert len(set(bodies.values())) == 3
    usual = server.ask("/restore", picture)
    assert usual.status == 200 and usual.body == bodies["0.5"]
    for work in ("0", "1.1", "-1", "nan", "much", "0.1"):
        refused = server.ask(f"/restore?work={work}", picture)
        assert 400 <= refused.status < 500 and "work" in refused.error, refused.error

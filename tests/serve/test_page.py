"""The page in a real browser. The fixture `page` fails a test whose page complains on the console."""

import http.server
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mirl.sparsity.masks import Masks
from mirl.tickets import writing
from mirl.tickets.routing import ByTask
from tests.routed_ticket import routed_ticket
from tests.serve.conftest import Server, encoded, noise

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PICTURE = noise(90, 120)


def file(name: str, data: bytes, media_type: str) -> Any:
    return {"name": name, "mimeType": media_type, "buffer": data}


@pytest.fixture
def shown(page: "Page", server: Server) -> "Page":
    page.goto(server.address)
    page.get_by_text("Ticket tiny").wait_for()
    return page


@pytest.fixture
def restored(shown: "Page") -> "Page":
    shown.set_input_files("#file", file("holiday.png", encoded(PICTURE), "image/png"))
    shown.get_by_role("link", name="Download").wait_for()
    return shown


def drop(page: "Page", data: bytes, name: str, media_type: str) -> None:
    """Drop a file onto the page, as a hand does it."""
    page.evaluate(
        """([bytes, name, type]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], name, { type }));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.getElementById("drop").dispatchEvent(
                    new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carried }));
        }""",
        [list(data), name, media_type],
    )


def left_part(page: "Page") -> float:
    """How much of the picture before is to be seen, in percent of its width."""
    clip = page.locator("#before").evaluate("image => getComputedStyle(image).clipPath")
    found = re.fullmatch(
        r"inset\(0(?:px)? calc\(100% - ([\d.]+)%\) 0(?:px)? 0(?:px)?\)|inset\(0(?:px)? ([\d.]+)%.*\)", clip
    )
    assert found, clip
    return float(found[1]) if found[1] else 100 - float(found[2])


def width(image: "Locator") -> int:
    return int(image.evaluate("image => image.naturalWidth"))


def test_it_says_what_restores_and_what_it_takes(shown: "Page") -> None:
    assert shown.inner_text("#ticket") == "Ticket tiny: 100 % of the weights of nafnet"
    assert shown.inner_text("#limits") == "PNG, JPEG or WebP, up to 0.293 MB and 4 million pixels"


def test_a_dropped_picture_stands_beside_its_restoration(shown: "Page") -> None:
    drop(shown, encoded(PICTURE), "holiday.png", "image/png")
    shown.get_by_role("link", name="Download").wait_for()
    for name in ("before", "after"):
        image = shown.locator(f"#{name}")
        assert image.is_visible() and width(image) == PICTURE.shape[1]
        box = image.bounding_box()
        assert box and box["width"] > 100 and box["height"] > 75
    status = shown.get_by_role("status").inner_text()
    assert re.fullmatch(
        r"Restored in [\d.]+ s: 120 × 90 pixels, with the ticket tiny at 100 % density", status
    )
    assert left_part(shown) == 50


def test_the_slider_follows_mouse_and_keys(restored: "Page") -> None:
    box = restored.locator("#stage").bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    restored.mouse.move(box["x"] + box["width"] / 2, middle)
    restored.mouse.down()
    restored.mouse.move(box["x"] + box["width"] / 4, middle, steps=5)
    restored.mouse.up()
    dragged = left_part(restored)
    assert dragged == pytest.approx(25, abs=2)
    restored.keyboard.press("ArrowRight")
    assert left_part(restored) == pytest.approx(dragged + 1, abs=0.2)
    restored.keyboard.press("Home")
    assert left_part(restored) == 0
    restored.keyboard.press("End")
    assert left_part(restored) == 100
    assert restored.get_by_role("slider").get_attribute("aria-valuetext") == "100 percent before"


def test_keys_alone_reach_everything(restored: "Page") -> None:
    reached = []
    restored.locator("body").evaluate("body => { body.tabIndex = -1; body.focus(); }")
    for _ in range(5):
        restored.keyboard.press("Tab")
        reached.append(restored.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached == ["file", "slider", "download", "HTTP API", "metrics"]


def test_the_download_is_the_restored_picture(shown: "Page", server: Server, tmp_path: Path) -> None:
    picture = encoded(PICTURE, "JPEG", quality=50)
    shown.set_input_files("#file", file("holiday.jpeg", picture, "image/jpeg"))
    with shown.expect_download() as download:
        shown.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "holiday-restored.jpg"
    download.value.save_as(tmp_path / "out.jpg")
    restored = (tmp_path / "out.jpg").read_bytes()
    assert restored == server.restore(picture).body != picture


@pytest.mark.parametrize(
    ("name", "data", "media_type", "says"),
    [
        ("notes.txt", b"some text", "text/plain", "notes.txt is not a picture; PNG, JPEG and WebP can"),
        ("empty.png", b"", "image/png", "empty.png is empty"),
        ("large.png", encoded(noise(400, 400)), "image/png", "large.png has 0.5 MB, 0.293 MB at most"),
        ("broken.png", b"no picture", "image/png", "broken.png cannot be shown"),
    ],
)
def test_what_cannot_be_restored_is_said_and_nothing_is_sent(
    name: str, data: bytes, media_type: str, says: str, restored: "Page", server: Server
) -> None:
    before = server.outcomes()
    restored.set_input_files("#file", file(name, data, media_type))
    restored.get_by_role("alert").filter(has_text=says).wait_for()
    assert not restored.locator("#work").is_visible()  # nor the picture of before
    assert server.outcomes() == before


def test_what_the_server_refuses_is_shown_in_its_words(browser: Any, server: Server) -> None:
    with browser.new_context() as context:  # its console names the 413
        page = context.new_page()
        page.goto(server.address)
        large = encoded(np.zeros((2001, 2000, 3), np.uint8))
        page.set_input_files("#file", file("large.png", large, "image/png"))
        said = page.get_by_role("alert")
        said.filter(has_text="The picture has 2000 x 2001 pixels, expected at most 4 million").wait_for()
        assert page.get_by_role("status").inner_text() == "Not restored."
        assert not page.get_by_role("button", name="Try again").is_visible()


def test_a_long_restoration_shows_that_it_goes_on_and_can_be_cancelled(shown: "Page") -> None:
    shown.set_input_files(
        "#file", file("large.png", encoded(np.zeros((2000, 2000, 3), np.uint8)), "image/png")
    )
    shown.get_by_role("button", name="Cancel").wait_for()
    assert shown.locator("#progress").is_visible()
    assert shown.get_by_role("status").inner_text() == "Restoring…"
    assert re.fullmatch(r"\d+ s", shown.locator("#clock").inner_text())
    shown.get_by_role("button", name="Cancel").click()
    shown.get_by_role("status").filter(has_text="Cancelled.").wait_for()
    assert not shown.locator("#progress").is_visible()


@pytest.mark.parametrize("wide", [320, 1600])
def test_nothing_is_wider_than_the_window(wide: int, restored: "Page") -> None:
    restored.set_viewport_size({"width": wide, "height": 700})
    assert restored.evaluate("document.documentElement.scrollWidth") <= wide


class _Blank(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_page_of_another_site_cannot_make_it_work(browser: "Browser", server: Server) -> None:
    before = server.outcomes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as other, browser.new_page() as page:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{other.server_port}/")
        sent = """([address, bytes]) => fetch(address + "/restore",
            {method: "POST", mode: "no-cors", body: new Blob([new Uint8Array(bytes)])}).catch(() => "kept from it")"""
        assert page.evaluate(sent, [server.address, list(encoded(PICTURE))]) == "kept from it"
        other.shutdown()
    after = server.outcomes()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "foreign": 1
    }


@pytest.fixture(scope="module")
def choosing(
    start: Callable[..., Server], make_ticket: Any, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """A server whose ticket routes by difficulty."""
    path = tmp_path_factory.mktemp("routed") / "ticket.safetensors"
    writing.write(routed_ticket(make_ticket, "nafnet"), path)
    return start(ticket=path)


def test_how_much_work_is_done_can_be_chosen(page: "Page", choosing: Server) -> None:
    page.goto(choosing.address)
    share = page.get_by_label("Work")
    share.wait_for()
    assert [share.get_attribute(name) for name in ("min", "max")] == ["0.30", "1"]
    assert page.inner_text("#share-said") == "50 %" and not page.get_by_label("What to undo").is_visible()
    for value, said in ((None, "50 %"), ("0.3", "30 %"), ("1", "100 %")):
        asked = "0.5" if value is None else value
        with page.expect_request(lambda request: "/restore" in request.url) as request:
            if value is None:
                page.set_input_files("#file", file("holiday.png", encoded(PICTURE), "image/png"))
            else:
                share.fill(value)  # restores the same picture again
        assert request.value.url.endswith(f"/restore?work={asked}")
        page.get_by_role("link", name="Download").wait_for()
        assert page.inner_text("#share-said") == said


def test_a_ticket_that_has_to_be_told_asks_for_the_task(
    page: "Page", start: Callable[..., Server], make_ticket: Any, tmp_path: Path
) -> None:
    ticket = make_ticket("nafnet")
    masks = Masks({"light": ticket.mask, "heavy": ticket.mask})
    routing = ByTask(kind="task", tasks={"dehaze": "light", "derain": "heavy"})
    writing.write(replace(ticket, masks=masks, routing=routing), tmp_path / "ticket.safetensors")
    page.goto(start(ticket=tmp_path / "ticket.safetensors").address)
    page.get_by_label("What to undo").select_option("derain")
    with page.expect_request(lambda request: "/restore" in request.url) as request:
        page.set_input_files("#file", file("holiday.png", encoded(PICTURE), "image/png"))
    assert request.value.url.endswith("/restore?task=derain")
    page.get_by_role("link", name="Download").wait_for()
    assert not page.get_by_label("Work").is_visible()

"""What every test gets: one torch thread, tiny tickets, and a browser.

Tests share the cores with each other and with other programs: two threads that wait for each other are slower.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from mirl.networks import NetworkSection, build, imported, prunable
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets import writing
from mirl.tickets.lineage import Lineage
from mirl.tickets.ticket import Ticket
from tests.skips import (  # noqa: F401  # hooks of pytest
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

torch.set_num_threads(1)

TINY: dict[str, dict[str, Any]] = {
    "edsr": {"width": 4, "blocks": 1, "scales": [3]},
    "fsrcnn": {"width": 4, "narrow": 2, "layers": 1, "scale": 3},
    "nafnet": {"width": 4, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 2},
    "restormer": {"width": 4, "blocks": [1, 1], "refinement": 1, "heads": [1, 2]},
    "promptir": {
        "width": 4, "blocks": [1, 1], "refinement": 1, "heads": [1, 2],
        "prompt_components": 2, "prompt_channels": [4], "prompt_sizes": [4],
    },
}  # fmt: skip
"""Of every network the smallest that has all its parts."""

MakeTicket = Callable[..., Ticket]


@pytest.fixture(scope="session")
def make_ticket() -> MakeTicket:
    """An unpruned ticket; `change` sees the state before it is put in."""

    def make(
        name: str = "nafnet",
        change: Callable[[State], Any] = lambda state: None,
        options: dict[str, Any] | None = None,
    ) -> Ticket:
        section = NetworkSection(name=name, options=options or TINY[name], seed=3)
        network = build(section)
        state = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
        change(state)
        lineage = Lineage(
            name="tiny", arm="", method="init", round=0, parent="", fingerprint="0" * 64, seed=3, steps=0,
            origin_step=0, data="", settings={},
        )  # fmt: skip
        mask = Mask.full(prunable(network, prompts=False))
        return Ticket(network=section, state=state, masks=Masks.one(mask), lineage=lineage)

    return make


@pytest.fixture(scope="session")
def does_nothing(make_ticket: MakeTicket) -> MakeTicket:
    """A ticket whose output is its input: every tensor is zero, so the residual is."""
    return lambda name="nafnet": make_ticket(name, lambda state: [t.zero_() for t in state.values()])


@pytest.fixture
def ticket_file(does_nothing: MakeTicket, tmp_path: Path) -> Path:
    path = tmp_path / "ticket.safetensors"
    writing.write(does_nothing(), path)
    return path


@pytest.fixture
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network of a user's own is allowed or was imported, and none is afterwards."""
    monkeypatch.setattr(imported, "_allowed", {})
    monkeypatch.setattr(imported, "_loaded", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "mynets"]:
        del sys.modules[name]


QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """The Chromium of this machine; a test that wants it is skipped where there is none.

    Of a module: while it is there an event loop runs, in which other tests would find themselves.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="of the extra dev")
    found = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if not found:
        pytest.skip("no Chromium is installed here (Debian: apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A tab of a fresh profile; whatever it complains of fails the test."""
    complaints: list[str] = []
    with browser.new_context(viewport={"width": 1000, "height": 800}) as context:
        context.set_default_timeout(15_000)
        opened = context.new_page()
        opened.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        yield opened
    assert complaints == []

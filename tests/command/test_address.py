from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mirl.command import address
from mirl.config import UserError


def install(monkeypatch: pytest.MonkeyPatch, *found: EntryPoint) -> None:
    def entry_points(group: str, name: str) -> list[EntryPoint]:
        return [point for point in found if (point.group, point.name) == (group, name)]

    monkeypatch.setattr(address, "entry_points", entry_points)


def resolver(given: str) -> str:
    return f"/cache/{given.removeprefix('models:/')}"


@pytest.mark.parametrize("path", ["ticket.safetensors", "C:/ticket", "c:/ticket", "a/b:/c", "./models:/x"])
def test_a_path_is_itself(path: str) -> None:
    assert address.ticket_file(path) == Path(path)


def test_a_scheme_is_resolved_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, EntryPoint("models", f"{__name__}:resolver", "mirl.tickets"))
    assert address.ticket_file(address.CHAMPION) == Path("/cache/mirl@champion")


def test_nothing_installed_for_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(UserError, match=r"nothing is installed that finds models:/mirl@champion; install"):
        address.ticket_file(address.CHAMPION)


def test_what_is_installed_lacks_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, EntryPoint("models", "mirl_lacks_this:download", "mirl.tickets"))
    with pytest.raises(UserError, match=r"mirl_lacks_this.*extra `pipeline`"):
        address.ticket_file(address.CHAMPION)

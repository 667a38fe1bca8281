"""The lists of what is installed: every file by its digest, and the versions that were tested."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = {
    "requirements.lock": ("pipeline", "serve", "dev", "export"),
    "infra/requirements.lock": ("pipeline", "cluster", "gpu"),
}
"""List -> the extras that it is for."""
OF_OTHER_SYSTEMS = {"async-timeout", "pywin32", "waitress", "whenever"}
BUILDS = {"setuptools", "wheel"}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(text: str) -> dict[str, str]:
    return {
        plain(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_has_a_digest_or_is_one(lock: str) -> None:
    entries = (ROOT / lock).read_text().replace("\\\n", " ").splitlines()
    assert len(entries) > 200
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^-]+?)?\s+(--hash=sha256:[0-9a-f]{64}\s*)+", entry), entry[:80]


@pytest.mark.parametrize("lock", LOCKS)
def test_the_versions_are_those_of_the_tested_environment(lock: str) -> None:
    tested, locked = versions((ROOT / "constraints.txt").read_text()), versions((ROOT / lock).read_text())
    others = {name for name, version in locked.items() if tested.get(name) != version}
    assert others <= OF_OTHER_SYSTEMS | BUILDS
    assert locked.keys() >= BUILDS and "torch" not in locked


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_that_mirl_asks_for_is_missing(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in LOCKS[lock]:
        asked += project["optional-dependencies"][extra]
    names = {plain(found[0]) for line in asked if (found := re.match(r"[\w.-]+", line))}
    assert names - versions((ROOT / lock).read_text()).keys() == {"torch"} | ({"mirl"} & names)


def test_the_installation_asks_for_digests() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (locked,) = re.findall(r"^LOCKED := (.*)$", makefile, re.MULTILINE)
    assert {"--require-hashes", "--no-deps", "--no-build-isolation"} <= set(locked.split())
    commands = re.findall(r"^\t(?:\$\(PIP\)|.*pip) (.*)$", makefile, re.MULTILINE)
    assert sum(command.startswith("$(LOCKED) -r ") for command in commands) == 3
    others = [command for command in commands if not command.startswith("$(LOCKED) -r ")]
    assert [c for c in others if "install" in c] == [
        "install -c constraints.txt torch",
        "install --no-deps --no-build-isolation -e .",
    ]

"""Hooks and CI run the targets of the Makefile, and nothing of their own."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_hooks_call_make_alone() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert (hook["entry"], hook["language"]) == (f"make {hook['id']}", "system")
        assert hook["id"] in targets()
        assert hook["always_run"] and not hook["pass_filenames"]


def test_ci_calls_what_everybody_calls() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-2:] == ["make check", "MIRL_SKIPS=strict make test"]
    assert "set -euo pipefail" in lines


def test_ci_looks_for_the_browsers_that_the_tests_look_for() -> None:
    (names,) = re.findall(r"shutil\.which, \[(.*?)\]", (ROOT / "tests" / "conftest.py").read_text())
    (sought,) = re.findall(r"^command -v (chromium .*?) >", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert sought.split() == re.findall(r'"([\w-]+)"', names)

"""The files of infra/, and what they may name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
SECRETS = re.findall(r"^(\w+)=", (INFRA / "secrets.env.example").read_text(), re.MULTILINE)
"""Names of what must never stand in a file of git with a value."""

Service = dict[str, Any]


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, document) of what infra/kubernetes and infra/kubernetes-jobs hold, before kustomize."""
    for folder in ("kubernetes", "kubernetes-jobs"):
        for path in sorted((INFRA / folder).glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                if isinstance(document, dict):
                    yield path.name, document


def unit(name: str) -> dict[str, list[str]]:
    """Settings of a systemd unit by name, whatever their section; one may stand there more than once."""
    settings: dict[str, list[str]] = {}
    for line in (INFRA / "systemd" / name).read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def env_file(name: str) -> dict[str, str]:
    """NAME=VALUE lines of infra/systemd/`name`, also those that are put there as comments."""
    text = (INFRA / "systemd" / name).read_text()
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


@pytest.fixture(scope="session")
def services() -> dict[str, Service]:
    """Of infra/compose.yaml, with its anchors and merges resolved."""
    return dict(yaml.safe_load((INFRA / "compose.yaml").read_text())["services"])

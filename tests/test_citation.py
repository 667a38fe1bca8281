"""CITATION.cff has what version 1.2.0 of the Citation File Format asks for, and agrees with pyproject.toml."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
REQUIRED = {"cff-version", "message", "title", "authors"}
KEYS = REQUIRED | {"abstract", "type", "version", "license", "keywords", "references", "date-released", "url", "doi",
                   "repository-code", "identifiers"}  # fmt: skip
"""The keys of the format that this file may use."""
KEYS_OF_A_REFERENCE = {
    "type",
    "title",
    "authors",
    "year",
    "doi",
    "url",
    "identifiers",
    "notes",
    "collection-title",
}
TYPES_OF_A_REFERENCE = {"article", "conference-paper"}


def citation() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    return read


def check_authors(authors: list[dict[str, str]]) -> None:
    """Each is a person (family and given names) or an entity (a name); all values are text."""
    assert authors
    for author in authors:
        assert author.keys() <= {"family-names", "given-names"} or author.keys() == {"name"}, author
        assert "family-names" in author or "name" in author, author
        assert all(isinstance(value, str) and value for value in author.values()), author


def test_the_required_keys_are_there() -> None:
    read = citation()
    assert read.keys() >= REQUIRED
    assert read.keys() <= KEYS
    assert read["cff-version"] == "1.2.0" and read["type"] == "software"
    check_authors(read["authors"])


def test_every_reference_can_be_found() -> None:
    references = citation()["references"]
    assert len(references) >= 4
    for reference in references:
        assert {"type", "title", "authors"} <= reference.keys() <= KEYS_OF_A_REFERENCE
        assert reference["type"] in TYPES_OF_A_REFERENCE
        check_authors(reference["authors"])
        assert 2000 < reference["year"] < 2100
        for identifier in reference.get("identifiers", []):
            assert identifier["type"] == "other" and re.fullmatch(r"arXiv:\d{4}\.\d{5}", identifier["value"])
            assert reference["url"] == f"https://arxiv.org/abs/{identifier['value'].removeprefix('arXiv:')}"
        assert "identifiers" in reference or re.fullmatch(r"10\.\d{4,9}/\S+", reference["doi"])


def test_it_agrees_with_the_package() -> None:
    read, project = citation(), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert read["version"] == project["version"]
    assert read["license"] == project["license"]
    assert read["abstract"].rstrip(".") == project["description"]

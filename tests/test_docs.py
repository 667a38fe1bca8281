"""The pages of docs/: links lead somewhere, the index names every page, the architecture is the one that is tested."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.test_layering import DOORS, ORDER

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("C*.md")),
    ROOT / "infra" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", title)) for title in titles]
    return {word.lower().replace(" ", "-") for word in words}


def dead_links(page: Path) -> list[str]:
    """The relative links of a page, pictures among them, that lead to no file or to no heading."""
    found = []
    for link in re.findall(r"]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_dead_links_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` (c)\n[a](page.md#a-b-c) [b](#a) [c](none.md) [d](https://example.org/none.md) ![e](e.png)\n"
    )
    assert dead_links(page) == ["#a", "none.md", "e.png"]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the architecture page, without its head."""
    text = (DOCS / "architecture.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_the_floors_are_those_of_the_test() -> None:
    named = [set(re.findall(r"`(\w+)`", row[0])) for row in table("The floors")]
    assert named == ORDER


def test_the_doors_are_those_of_the_test() -> None:
    rows = {row[0].lower(): re.findall(r"`flows/(\w+)(?:\.py|/)`", row[1]) for row in table("The doors")}
    assert rows.keys() == DOORS.keys()
    for tool, doors in DOORS.items():
        assert {f"flows.{name}" for name in rows[tool]} == set(doors)


def test_what_a_line_belongs_in_exists() -> None:
    text = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`((?:mirl|flows|infra|benchmarks|tests|docs)/[\w./]*)`", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_index_names_every_page_of_docs() -> None:
    linked = {
        (DOCS / link).resolve() for link in re.findall(r"]\(([^)#]+)\)", (DOCS / "README.md").read_text())
    }
    missing = [page for page in DOCS.rglob("*.md") if page != DOCS / "README.md" and page not in linked]
    assert missing == []


def test_the_index_gives_decisions_their_titles() -> None:
    index = (DOCS / "README.md").read_text()
    for page in sorted((DOCS / "adr").glob("*.md")):
        number, title = page.read_text().splitlines()[0].removeprefix("# ").split(". ", 1)
        assert f"\n{number}. [{title}](adr/{page.name})\n" in index


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 130
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []

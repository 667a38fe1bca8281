"""mirl is under Apache-2.0, and nothing that it installs forbids that."""

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from tests.test_lock import LOCKS, plain, versions

ROOT = Path(__file__).parents[1]

PERMITTED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib", "ZPL-2.1",
    # Asks for the source of its own files only; mirl changes none of them.
    "MPL-2.0",
}  # fmt: skip
"""SPDX identifiers of licences whose packages an Apache-2.0 program may use."""

SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "New BSD": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "Zope Public License": "ZPL-2.1",
}
"""What packages write instead of an SPDX identifier; BSD stands for any of its permissive forms."""

REASONED = {
    "asyncssh": (
        "EPL-2.0 OR GPL-2.0-or-later",
        "EPL-2.0 is taken: it asks for the source of asyncssh alone, which DVC uses unchanged for SSH remotes.",
    ),
    "grandalf": (
        "GPLv2 | EPLv1",
        "EPL-1.0 is taken: it asks for the source of grandalf alone, with which `dvc dag` draws a graph.",
    ),
    "huey": ("", "Its LICENSE is the MIT license; its metadata name none. MLflow depends on it."),
    "psycopg2-binary": (
        "LGPL with exceptions",
        "A shared library that can be replaced, used unchanged by the servers of the extra `cluster`.",
    ),
    "pygit2": (
        "GPLv2 with linking exception",
        "The exception lets programs of any licence link to it; DVC uses it unchanged to read git.",
    ),
    "pyvips-binary": (
        "LGPL-3.0-or-later",
        "libvips and its libraries are shared objects, loaded through pyvips' interface and replaceable: "
        "`pip install pyvips` without this package uses the system's libvips.",
    ),
    "skops": ("OSI Approved", "Its LICENSE is the MIT license; its metadata do not say which. MLflow depends on it."),
    "text-unidecode": (
        "Artistic License",
        "Its page offers the Artistic License or the GPL, and the first is taken; python-slugify, which Prefect "
        "depends on, uses it unchanged.",
    ),
}  # fmt: skip
"""Package -> (what its metadata state, why it may be used all the same)."""


def permitted(expression: str) -> bool:
    """Whether one choice that an SPDX expression offers has permitted licences only."""
    term = re.compile(r"[\w.+-]+(?: WITH [\w.-]+)?")
    words = {"AND": "and", "OR": "or"}
    logic = term.sub(lambda found: words.get(found[0], str(found[0] in PERMITTED)), expression)
    assert re.fullmatch(r"(True|False|and|or|[() ])+", logic), logic
    return bool(eval(logic))


def spdx(text: str) -> str:
    """The SPDX expression that `text` is or stands for; "" if it is none."""
    try:
        return canonicalize_license_expression(SPELLINGS.get(text, text))
    except InvalidLicenseExpression:
        return ""


def stated(distribution: metadata.Distribution) -> str:
    """What the metadata state: the expression, a short `License` field that names one, or the classifiers."""
    known: Any = (
        distribution.metadata
    )  # a Message: the protocol that the stubs name has no `get` in Python 3.11
    field = (known.get("License-Expression") or known.get("License") or "").strip()
    if spdx(field):
        return spdx(field)
    classifiers = [c for c in known.get_all("Classifier") or [] if c.startswith("License ::")]
    names = [name.split(" :: ")[-1] for name in classifiers]
    if names and all(map(spdx, names)):
        return " AND ".join(map(spdx, names))
    return field if "\n" not in field and field else " | ".join(names)


def refused(distributions: Iterable[metadata.Distribution]) -> list[str]:
    """One line for each distribution whose licence is neither permitted nor reasoned."""
    lines = []
    for distribution in distributions:
        name, licence = plain(distribution.metadata["Name"]), stated(distribution)
        expression = spdx(licence)
        if (not expression or not permitted(expression)) and REASONED.get(name, ("-",))[0] != licence:
            lines.append(f"{name}: {licence!r}")
    return lines


def named() -> set[str]:
    """The packages of both lists, and torch, which is installed beside them."""
    return {"torch"}.union(*(versions((ROOT / lock).read_text()).keys() for lock in LOCKS))


def test_no_dependency_forbids_the_licence() -> None:
    installed = [d for d in metadata.distributions() if plain(d.metadata["Name"]) in named()]
    assert len(installed) > 200
    assert refused(installed) == []


def test_every_reason_is_needed() -> None:
    assert REASONED.keys() <= named()


def test_the_project_says_so() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text


class Made(metadata.Distribution):
    """A distribution with the metadata of a test."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["License-Expression: MIT"], True),
        (["License-Expression: GPL-3.0-only"], False),
        (["License-Expression: GPL-3.0-only OR Apache-2.0"], True),
        (["License-Expression: GPL-3.0-only AND Apache-2.0"], False),
        (["License-Expression: MPL-2.0 AND (AGPL-3.0-only OR MIT)"], True),
        (["License: Apache 2.0"], True),
        (["License: LGPL-3.0-or-later"], False),
        (["License: Proprietary"], False),
        (["Classifier: License :: OSI Approved :: BSD License"], True),
        (["License: Dual License", "Classifier: License :: OSI Approved :: BSD License"], True),
        (["Classifier: License :: OSI Approved :: GNU Affero General Public License v3"], False),
        ([], False),
    ],
)
def test_what_is_refused(lines: list[str], expected: bool) -> None:
    made = Made("\n".join(["Metadata-Version: 2.4", "Name: other", "Version: 1", *lines, ""]))
    assert (refused([made]) == []) == expected


def test_a_reason_holds_for_the_licence_it_was_given_for() -> None:
    text = "Metadata-Version: 2.4\nName: pygit2\nVersion: 1\nLicense: "
    assert refused([Made(f"{text}GPLv2 with linking exception\n")]) == []
    assert refused([Made(f"{text}GPL-3.0-only\n")]) == ["pygit2: 'GPL-3.0-only'"]

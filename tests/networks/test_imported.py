"""Networks of a user's own: imported if they were allowed by name, and known by the digest of their source."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

from mirl.config import UserError
from mirl.networks import NetworkSection, allow, build, imported, is_known, is_own, outline
from tests.own_network import NAME, TRACE, UNET, write_network

pytestmark = pytest.mark.usefixtures("nothing_allowed")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read(name: str = NAME, **more: object) -> NetworkSection:
    return NetworkSection.read({"name": name, **more}, "params.yaml")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mynets.unet:TinyUNet", True),
        ("unet:Net", True),
        ("os:system", True),
        ("nafnet", False),
        ("", False),
        ("a:b:c", False),
        ("a/b:C", False),
        (".a:B", False),
        ("..a:B", False),
        ("a:B()", False),
        ("a:B\n", False),
        ("ä:B", False),
        ("a" * 199 + ":B", False),
    ],
)
def test_a_name_is_a_module_and_a_class(name: str, expected: bool) -> None:
    assert is_own(name) == expected


@pytest.mark.parametrize("name", ["os:system", "mynets.unet:TinyUNet", "mirl.networks.nafnet:Nafnet"])
def test_a_name_alone_imports_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_network(tmp_path, TRACE + UNET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    section = read(name, source="0" * 64)
    assert not is_known(name)
    for use in (outline, build):
        with pytest.raises(
            UserError, match=rf"the module {name.split(':')[0]}, which was not.*--network {name}"
        ):
            use(section)
    assert not path.with_suffix(".ran").exists()


def test_allowing_imports_only_what_is_needed(tmp_path: Path) -> None:
    path = write_network(tmp_path, TRACE + UNET)
    allow(NAME, tmp_path)
    assert not path.with_suffix(".ran").exists()
    section = read(options={"width": 8}, seed=3)
    assert path.with_suffix(".ran").exists()
    assert outline(section).multiple == 2
    first, again = build(section).state_dict(), build(section).state_dict()
    assert first["head.weight"].shape == (8, 3, 3, 3)
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_the_section_has_the_digest_of_the_source(tmp_path: Path) -> None:
    path = write_network(tmp_path)
    allow(NAME, tmp_path)
    section = read()
    assert section.source == hashlib.sha256(path.read_bytes()).hexdigest()
    assert section.spec()["source"] == section.source
    assert read(**json.loads(json.dumps(section.model_dump(exclude={"name"})))) == section


def test_ours_have_no_source() -> None:
    assert "source" not in NetworkSection(name="nafnet").spec()
    with pytest.raises(UserError, match="`source` is .* nafnet is one of mirl's networks"):
        read("nafnet", source="0" * 64)


def test_another_source_is_not_built(tmp_path: Path) -> None:
    write_network(tmp_path)
    allow(NAME, tmp_path)
    section = read(source="a" * 64)
    for use in (outline, build):
        with pytest.raises(
            UserError,
            match=rf"source {'a' * 64}, but mynets/unet.py here has {sha256(UNET)}; .*dvc repro -f init",
        ):
            use(section)


def test_the_digest_sees_the_files_of_the_study_that_are_imported(tmp_path: Path) -> None:
    """As `sha256sum` lists them; a file without code and what is installed do not count."""
    texts = {
        "mynets/blocks.py": "from . import sizes\nimport helpers\n",
        "mynets/sizes.py": "from mynets.unet import NAME\n",
        "helpers.py": "import torch\n",
        "mynets/unet.py": "NAME = 'a'\nfrom mynets import blocks\nfrom mirl.networks import Network\n" + UNET,
    }
    for place, text in {**texts, "mynets/__init__.py": "\n", "mynets/other.py": "x = 1\n"}.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    allow(NAME, tmp_path)
    listed = "".join(f"{sha256(texts[place])}  {place}\n" for place in sorted(texts))
    assert read().source == sha256(listed)
    assert imported.loaded(NAME).files == sorted(texts)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "mynets/unet.py has no class TinyUNet that derives from mirl.networks.Network"),
        ("TinyUNet = 3", "has no class TinyUNet"),
        ("class TinyUNet: pass", "has no class TinyUNet"),
        ("x = 1\nthis is no code", r"mynets/unet.py cannot be imported: SyntaxError: .*line 2"),
        (
            "x = 1\nimport notthere",
            r"cannot be imported: ModuleNotFoundError: No module named 'notthere' \(line 2\)",
        ),
        ("x = 1 / 0", r"cannot be imported: ZeroDivisionError: division by zero \(line 1\)"),
        (
            "from mirl.networks import Network\nclass TinyUNet(Network): pass",
            "the class TinyUNet of mynets/unet.py has no `Options` that derives from mirl.config.Section",
        ),
    ],
)
def test_what_is_no_network_is_said_in_a_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    write_network(tmp_path, text)
    allow(NAME, tmp_path)
    with pytest.raises(UserError, match=f"params.yaml: `name` is '{NAME}', but .*{sentence}"):
        read()


@pytest.mark.parametrize("name", ["os:system", "mirl.networks.nafnet:Nafnet", "nowhere:Net"])
def test_only_files_of_the_folder_are_imported(name: str, tmp_path: Path) -> None:
    allow(name, tmp_path)
    with pytest.raises(
        UserError, match=rf"there is no {name.split(':')[0].replace('.', '/')}.py in {tmp_path}"
    ):
        read(name)


def test_a_module_that_is_called_like_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(UNET)
    allow("json:TinyUNet", tmp_path)
    with pytest.raises(UserError, match=r"another module is called json, .*; give json.py another name"):
        read("json:TinyUNet")


def test_options_and_multiple_are_checked(tmp_path: Path) -> None:
    write_network(tmp_path, UNET.replace("multiple = 2", "multiple = 0"))
    allow(NAME, tmp_path)
    with pytest.raises(UserError, match="`wdith` is not a known key; did you mean `width`"):
        read(options={"wdith": 3})
    with pytest.raises(UserError, match="has 0 as its `multiple`, expected pixels, 1 or more"):
        outline(read())


def test_what_is_allowed_has_the_form_of_a_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'nafnet' is no network of your own, expected a module and a class"):
        allow("nafnet", tmp_path)

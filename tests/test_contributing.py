"""The recipes of CONTRIBUTING.md, followed word for word on a copy of the repository."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirl.study.params import Params
from mirl.yaml import parse_yaml
from tests.documented import ROOT, environment

COPIED = ["mirl", "flows", "tests", "studies", "docs", "pyproject.toml", "params.yaml", "dvc.yaml"]

BLOCK = re.compile(r"^(?:(In|New) `([^`]+)`[^\n]*:\n\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

ANOTHER = {
    "score": ("movement", "drift"), "network": ("plain", "basic"), "method": ("smallest", "largest"),
    "task": ("blur", "tilt"), "routing": ("task_or", "by_mood"),
}  # fmt: skip
"""Recipe -> the name of what it adds, and another name for the same."""


@dataclass(frozen=True)
class Step:
    """One block of a recipe: a new file, a diff to a file, or commands."""

    kind: str
    path: str
    text: str


def recipes() -> dict[str, list[Step]]:
    """Heading -> its steps, of every section under "Recipes"."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    sections = re.split(r"^### ", page.split("\n## Recipes\n")[1], flags=re.MULTILINE)[1:]
    return {section.split("\n", 1)[0]: steps(section) for section in sections}


def steps(section: str) -> list[Step]:
    """The blocks of a section in their order. A diff without a name of its own is for the file named before."""
    found: list[Step] = []
    for word, path, language, text in BLOCK.findall(section):
        assert (word == "New") == (language == "python"), f"{path or text}: a new file is a block of python"
        kind = {"python": "file", "diff": "diff", "": "commands"}[language]
        found.append(Step(kind=kind, path=path or (found[-1].path if kind == "diff" else ""), text=text))
    return found


def changed(code: str, diff: str) -> str:
    """`code` after a diff of lines that begin with a space, - or +; `...` is the rest of a line as it is."""
    lines = diff.splitlines()
    before = [line[1:] for line in lines if line[:1] in (" ", "-", "")]
    after = [line[1:] for line in lines if line[:1] in (" ", "+", "")]
    pattern = "\n".join(re.escape(line).replace(re.escape("..."), "(.*)") for line in before)
    places = list(re.finditer(rf"^{pattern}$", code, re.MULTILINE))
    assert len(places) == 1, (
        f"found {len(places)} times, expected once; let the recipe in CONTRIBUTING.md say what is there now:\n"
        + "\n".join(before)
    )
    rest = iter(places[0].groups())
    new = "\n".join(re.sub(re.escape("..."), lambda _: next(rest), line) for line in after)
    return code[: places[0].start()] + new + code[places[0].end() :]


def renamed(text: str, own: str, other: str) -> str:
    """`text` of another thing: `own_name` and OwnName become `other_name` and OtherName."""
    camel_own, camel_other = (name.title().replace("_", "") for name in (own, other))
    return text.replace(own, other).replace(camel_own, camel_other)


def take(step: Step, folder: Path) -> None:
    """Do in `folder` what a step says."""
    target = folder / step.path
    if step.kind == "file":
        assert not target.exists(), f"{step.path} is there already"
        target.write_text(step.text)
    elif step.kind == "diff":
        try:
            target.write_text(changed(target.read_text(), step.text))
        except AssertionError as error:
            raise AssertionError(f"{step.path}: {error}") from None
    else:
        for line in step.text.splitlines():
            run(["bash", "-euc", line], folder)


def run(command: list[str], folder: Path) -> str:
    """Standard output of a command in `folder`, whose packages come before the installed ones."""
    done = subprocess.run(
        command, cwd=folder, env=environment(PYTHONDONTWRITEBYTECODE="1"), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository, as far as the recipes touch it."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("title", recipes())
def test_a_recipe_works_as_it_is_written(title: str, copy: Path) -> None:
    assert run(["python", "-c", "import mirl; print(mirl.__file__)"], copy).strip().startswith(str(copy))
    followed = recipes()[title]
    for step in followed:
        take(step, copy)
    kinds = [step.kind for step in followed]
    assert "diff" in kinds and kinds[-1] == "commands"
    paths = sorted({step.path for step in followed if step.path})
    run(["ruff", "check", "--no-cache", *paths], copy)
    run(["ruff", "format", "--no-cache", "--check", *paths], copy)
    run(["python", "-m", "pytest", "-p", "no:cacheprovider", "tests/test_layering.py", "-k", "one_way"], copy)


@pytest.mark.parametrize("title", recipes())
def test_a_recipe_fits_after_another_thing_of_its_kind_was_added(title: str, copy: Path) -> None:
    own, other = ANOTHER[title.removeprefix("Add a ")]
    for step in recipes()[title]:
        if step.kind != "commands":
            take(Step(step.kind, renamed(step.path, own, other), renamed(step.text, own, other)), copy)
    run(["ruff", "check", "--no-cache", "--quiet", "--fix", "--select", "I", "mirl", "tests"], copy)
    run(["ruff", "format", "--no-cache", "--quiet", "mirl", "tests"], copy)
    for step in recipes()[title]:
        if step.kind != "commands":
            take(step, copy)


def test_all_recipes_together_are_typed(copy: Path) -> None:
    followed = [step for steps_ in recipes().values() for step in steps_ if step.kind != "commands"]
    for step in followed:
        take(step, copy)
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache")
    run(["mypy", "--explicit-package-bases", *sorted({step.path for step in followed})], copy)


def test_the_tiny_study_is_one() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    params = Params.read(parse_yaml(found[0], "CONTRIBUTING.md"), "CONTRIBUTING.md")
    assert len(found) == 1 and params.study == "tiny" and list(params.rounds) == ["dense", "mine-r1"]


def test_the_recipes_that_there_are() -> None:
    assert [title.removeprefix("Add a ") for title in recipes()] == [
        "score", "network", "method", "task", "routing",
    ]  # fmt: skip


def test_a_diff_literally() -> None:
    assert changed("a\nb\nc\n", " a\n+new\n") == "a\nnew\nb\nc\n"
    assert changed("a\nb\nc\n", "-b\n+d\n") == "a\nd\nc\n"
    assert changed("T = {1, 2}\n", "-T = {...}\n+T = {..., 3}\n") == "T = {1, 2, 3}\n"
    assert changed("f(x)\n", "+g\n f(...\n") == "g\nf(x)\n"


@pytest.mark.parametrize("code", ["", "b b\n", "b\na\nb\n"])
def test_a_diff_that_fits_nowhere_or_twice_is_refused(code: str) -> None:
    with pytest.raises(AssertionError, match="expected once"):
        changed(code, "-b\n+d\n")


def test_a_diff_that_fits_nowhere_says_in_which_file_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("b\n")
    with pytest.raises(AssertionError, match=r"^a.py: found 0 times, expected once; let the recipe in CONTR"):
        take(Step(kind="diff", path="a.py", text="-c\n"), tmp_path)


def test_a_diff_belongs_to_the_file_named_before() -> None:
    section = "In `a.py`, which:\n\n```diff\n+x\n```\n\n```diff\n+y\n```\n\nAnd\n\n```\nls\n```\n"
    assert [(step.kind, step.path) for step in steps(section)] == [
        ("diff", "a.py"),
        ("diff", "a.py"),
        ("commands", ""),
    ]

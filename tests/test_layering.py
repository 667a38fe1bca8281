"""Imports go one way, and the core knows nothing of the tools around it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

ORDER = [
    {"errors", "terminal"},
    {"files"},
    {"yaml"},
    {"config"},
    {"names"},
    {"records"},
    {"pictures"},
    {"data", "networks", "sparsity"},  # beside one another: none imports another
    {"tickets"},
    {"objectives"},
    {"methods"},
    {"training"},
    {"evaluation"},
    {"promotion"},
    {"runtime"},
    {"restore"},
    {"serve"},
    {"study"},
    {"command"},
]
"""A package of mirl imports itself and what stands above it."""

TOOLS = {"prefect", "mlflow", "dvc"}
FORBIDDEN_IN_MIRL = TOOLS | {"flows"}
DOORS = {
    "mlflow": ("flows.tracking", "flows.registry"),
    "dvc": ("flows.graph", "flows.remote"),
    "prefect": ("flows.orchestration",),
}
"""The rooms of flows/ in which a tool may be imported."""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, with what it takes from it: `mirl.data`, `mirl.data.check`."""
    return imported(path.read_text(), name_of(path), path.name == "__init__.py")


def imported(code: str, module: str, is_package: bool = False) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = (
                module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            )
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def within(name: str, packages: set[str]) -> bool:
    return name.split(".")[0] in packages


def misplaced(module: str, name: str) -> bool:
    """Whether `module` of mirl may not import `name` of mirl, by the order of the packages."""
    own, other = module.split(".")[1:2], name.split(".")[1:2]
    level = {package: number for number, packages in enumerate(ORDER) for package in packages}
    if own == other or not other or other[0] not in level:  # `from mirl import __version__`
        return False
    return not own or level[other[0]] >= level[own[0]]


def test_every_package_has_its_place() -> None:
    found = {
        path.stem
        for path in (ROOT / "mirl").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} == set().union(*ORDER)


@pytest.mark.parametrize("path", modules("mirl"), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    module = name_of(path)
    assert [name for name in imports(path) if within(name, {"mirl"}) and misplaced(module, name)] == []


@pytest.mark.parametrize("path", modules("mirl"), ids=name_of)
def test_the_core_knows_no_tool(path: Path) -> None:
    assert [name for name in imports(path) if within(name, FORBIDDEN_IN_MIRL)] == []


@pytest.mark.parametrize("path", modules("flows"), ids=name_of)
def test_each_tool_has_its_doors(path: Path) -> None:
    for tool, doors in DOORS.items():
        if not name_of(path).startswith(doors):
            assert [name for name in imports(path) if within(name, {tool})] == [], f"not a door of {tool}"


@pytest.mark.parametrize(
    ("module", "code", "expected"),
    [
        ("mirl.data.check", "from mirl.networks import build", True),
        ("mirl.data.check", "import mirl.sparsity.mask", True),
        (
            "mirl.data.check",
            "from mirl.config import UserError\nfrom mirl.data.images import read_image",
            False,
        ),
        ("mirl.data.check", "from .images import read_image\nfrom mirl import __version__", False),
        ("mirl.data.check", "from ..study import params", True),
        ("mirl.data.check", "from mirl import study", True),
        ("mirl.config", "def late():\n    from mirl import records", True),
        ("mirl.restore.pad", "import importlib\nimportlib.import_module('mirl.study.stages')", True),
        ("mirl.command.main", "import importlib\nimportlib.import_module('mirl.study.stages')", False),
        ("mirl", "from mirl.config import UserError", True),
    ],
)
def test_the_walk_finds_them(module: str, code: str, expected: bool) -> None:
    found = [name for name in imported(code, module) if within(name, {"mirl"})]
    assert any(misplaced(module, name) for name in found) == expected


WITHOUT_TOOLS = f"""
import importlib, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(TOOLS)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import mirl
names = [found.name for found in pkgutil.walk_packages(mirl.__path__, "mirl.", onerror=print)]
for name in names:
    importlib.import_module(name)
print(*names)
"""


def test_mirl_works_without_the_tools() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TOOLS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {name_of(path) for path in modules("mirl")} - {"mirl"}


def test_the_tools_are_really_missing_there() -> None:
    code = WITHOUT_TOOLS.replace("import mirl\n", "import mlflow\nimport mirl\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "No module named 'mlflow'" in done.stderr


PLUMBING = {"errors", "terminal", "files", "yaml", "config", "names", "records", "pictures"}
"""Packages that decide no result: what they do wrong is an error and no other number."""
SPARED = {
    ("evaluate", "runtime"): "photographs are scored without its kernels",
    ("evaluate", "methods"): "the comparison asks for roles, and that is the stage compare's",
}
"""(stage, package) -> why the stage does not depend on a package that its code may import."""


@pytest.mark.parametrize("stage", ["prepare", "init", "round", "evaluate"])
def test_a_stage_depends_on_every_package_that_decides_its_result(stage: str) -> None:
    """DVC follows no imports: what the packages among the deps import has to stand there, too (ADR 2)."""
    found = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    deps = {dep.removeprefix("mirl/") for dep in found.get("do", found)["deps"] if dep.startswith("mirl/")}
    imported_by_them = {
        name.split(".")[1]
        for package in deps
        for path in (ROOT / "mirl" / package).rglob("*.py")
        for name in imports(path)
        if name.startswith("mirl.")
    }
    spared = {package for own, package in SPARED if own == stage}
    assert imported_by_them - deps - PLUMBING - {"__version__"} == spared

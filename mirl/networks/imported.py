"""Networks of a user's own: classes named `module:Class`, imported from the study's folder if allowed by name.

Whoever writes a ticket chooses the name of the network in it. So a name imports nothing by itself: the process has to
be told before that its user wants that network.
"""

import ast
import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mirl.config import Section, UserError
from mirl.files import read_text
from mirl.networks.network import Network

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
LONGEST = 200
"""Largest number of characters of a name."""
NOT_OWN = ("mirl", "flows")
"""Packages that a study's folder may hold because it is a clone of mirl."""

_allowed: dict[str, Path] = {}
_loaded: dict[str, "ImportedNetwork"] = {}


@dataclass(frozen=True, kw_only=True)
class ImportedNetwork:
    """Imported class of a network, and the files that it was read from."""

    kind: type[Network]
    files: list[str]
    """Paths below the study's folder: the module's own, and those of that folder which it imports."""
    source: str
    """SHA-256 digest of that file; if there are several, the digest of what `sha256sum` prints of them in this
    order."""


def is_own(name: str) -> bool:
    """Return whether `name` has the form `module:Class`."""
    return len(name) <= LONGEST and bool(NAME.fullmatch(name))


def allow(name: str, folder: Path) -> None:
    """Let this process import the network called `name` from below `folder`, once the network is needed.

    Raises UserError if the name does not have the form `module:Class`.
    """
    if not is_own(name):
        raise UserError(
            f"{name!r} is no network of your own, expected a module and a class such as mynets.unet:TinyUNet"
        )
    _allowed[name] = folder.resolve()


def allowed() -> dict[str, Path]:
    """Return the names that were allowed, each with its folder, so that another process can be told."""
    return dict(_allowed)


def loaded(name: str) -> ImportedNetwork:
    """Return the network called `name`, imported at the first call.

    Raises UserError if the network was not allowed or cannot be imported.
    """
    if name not in _allowed:
        raise UserError(
            f"the network {name} is none of mirl's: to build it runs code of the module {name.partition(':')[0]}, which "
            f"was not allowed; if you trust that code, allow it with `--network {name}`, or in a study by naming it in "
            "params.yaml"
        )
    if name not in _loaded:
        _loaded[name] = _imported(name, _allowed[name])
    return _loaded[name]


def _imported(name: str, folder: Path) -> ImportedNetwork:
    module, _, wanted = name.partition(":")
    path = _file(folder, module)
    if path is None:
        raise UserError(
            f"there is no {module.replace('.', '/')}.py in {folder}; name a module of that folder"
        )
    place = path.relative_to(folder).as_posix()
    try:
        texts = _texts(folder, module)
        found = _module(module, folder)
    except Exception as error:  # whatever that code raises
        raise UserError(f"{place} cannot be imported: {_sentence(error, path)}") from error
    if Path(found.__file__ or "").resolve() != path.resolve():
        raise UserError(f"another module is called {module}, {found.__file__}; give {place} another name")
    kind = getattr(found, wanted, None)
    if not (isinstance(kind, type) and issubclass(kind, Network)):
        raise UserError(f"{place} has no class {wanted} that derives from mirl.networks.Network")
    options = getattr(kind, "Options", None)
    if not (isinstance(options, type) and issubclass(options, Section)):
        raise UserError(
            f"the class {wanted} of {place} has no `Options` that derives from mirl.config.Section"
        )
    return ImportedNetwork(kind=kind, files=list(texts), source=_digest(texts))


def _module(name: str, folder: Path) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last, so that nothing there takes the place of an installed module
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _texts(folder: Path, module: str) -> dict[str, str]:
    """Return place below `folder` -> text of the files that `module` is made of, in the order of their places.

    Imports are read, not run; files without code, such as an empty `__init__.py`, are left out.
    """
    found: dict[Path, str] = {}
    waiting = [module]
    while waiting:
        parts = waiting.pop().split(".")
        for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
            path = _file(folder, name)
            if path and path not in found:
                found[path] = read_text(path)
                waiting.extend(_imports(found[path], name, path.name == "__init__.py"))
    places = {path.relative_to(folder).as_posix(): text for path, text in found.items() if text.strip()}
    return {place: places[place] for place in sorted(places)}


def _file(folder: Path, module: str) -> Path | None:
    """Return the file of a module below `folder`, or None if there is none."""
    parts = module.split(".")
    place = folder.joinpath(*parts)
    candidates = [] if parts[0] in NOT_OWN else [place / "__init__.py", place.with_suffix(".py")]
    return next((path for path in candidates if path.is_file()), None)


def _imports(code: str, module: str, is_package: bool) -> Iterator[str]:
    """Yield every module that the code of `module` imports anywhere, and every name that may be a module."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def _digest(texts: dict[str, str]) -> str:
    digests = {place: hashlib.sha256(text.encode()).hexdigest() for place, text in texts.items()}
    if len(digests) == 1:
        return next(iter(digests.values()))
    listed = "".join(f"{digest}  {place}\n" for place, digest in digests.items())
    return hashlib.sha256(listed.encode()).hexdigest()


def _sentence(error: Exception, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"

"""Compilation of kernels, and a cache of their machine code for the next process.

Numba caches machine code beside each source file, and checks only that file to see whether the code is still valid.
Here kernels call each other across files, and a registered model carries a copy of all of them: so the code is cached
in one folder of the user, under a digest of all sources.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

config: Any = numba.config
"""Numba's settings; untyped, as their attributes are made on import."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` to machine code that releases the GIL; the code is cached in FOLDER if that is writable."""
    before = getattr(config, "CACHE_LOCATOR_CLASSES", "")
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{CacheLocator.__name__}"
    try:
        # Where a division by 0 is an exception, the compiler makes no vectors of it.
        compiler = numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=KEPT)
        return compiler(function)
    finally:
        config.CACHE_LOCATOR_CLASSES = before


class CacheLocator:
    """Location at which numba caches the machine code of one function."""

    def __init__(self, line: int) -> None:
        self._line = line

    @classmethod
    def from_function(cls, function: Any, file: str) -> "CacheLocator":
        """Return the locator of a function of this package."""
        return cls(function.__code__.co_firstlineno)

    def ensure_cache_path(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(FOLDER)

    def get_source_stamp(self) -> str:
        """Return the digest on which cached code depends; numba checks the processor and its own version besides."""
        return SOURCES

    def get_disambiguator(self) -> str:
        """Return the line number, which tells functions of the same name apart."""
        return str(self._line)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _cache() -> Path:
    """Return the user's folder for caches; one that cannot be made, as what anybody may write to is no cache of code."""
    try:
        return Path(
            config.CACHE_DIR or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mirl")
        )
    except RuntimeError:  # a user without a home
        return Path(os.devnull, "mirl")


SOURCES = _digest(Path(__file__).parent)
FOLDER = _cache() / f"kernels-{SOURCES}"
KEPT = _writable(FOLDER)

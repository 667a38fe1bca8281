"""How kernels are compiled, and kept for the next process."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """`function` as machine code that lets go of the interpreter; kept beside the modules.

    Numba looks at a function's own file to see whether what it kept is still right, not at the files of what the function
    calls. So the name under which it is kept tells of all files here.
    """
    function.__qualname__ += f".{SOURCES}"
    # Where a division by 0 is an exception, the compiler makes no vectors of it.
    return numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")(function)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


SOURCES = _digest(Path(__file__).parent)

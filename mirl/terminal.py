"""Output of commands, through streams that keep foreign text from controlling the terminal.

Every entry point calls `guard` first. An error, which is one sentence, is printed by `fail`; a foreign name within a
line is made `printable`, so that the name cannot end the line.
"""

import re
import sys
from typing import Any, TextIO, cast

BAD_INPUT = 2
"""Exit code of an error that the user can correct."""

_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: ESC is one, and so are the ends of a line
    "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f"  # direction, or nothing to see
    "\u2028\u2029\ud800-\udfff]"  # ends of a line to some, and what is no character
)
_BYTES = range(0xDC80, 0xDD00)  # Python's stand-ins for the bytes of a file name that is no UTF-8
_MOVES = re.compile(r"\n*(\x1b\[A)*")  # what tqdm sends by itself to get from one bar to another


def printable(text: object) -> str:
    """Return `text` as one harmless line: controls, line ends and direction marks become escapes like \\x1b."""
    return _UNFIT.sub(_escaped, str(text))


def printable_lines(text: str) -> str:
    """Return `text` escaped as by `printable`, except for line feeds and tabs, which stay."""
    return _UNFIT.sub(lambda found: found[0] if found[0] in "\n\t" else _escaped(found), text)


def guard() -> None:
    """Guard standard output and standard error for the rest of this process; letters they cannot show become escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Guarded):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a terminal may not know every letter
            setattr(sys, name, cast(TextIO, _Guarded(stream)))


def fail(error: object, who: str = "") -> int:
    """Print an error as one line to standard error and return the exit code BAD_INPUT."""
    print(f"{who}error: {printable(error)}", file=sys.stderr)
    return BAD_INPUT


class _Guarded:
    """Text stream that escapes control characters, except for line feeds, tabs and tqdm's own cursor moves."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        start = "\r" * text.startswith("\r")  # of a bar that is drawn again
        self._stream.write(text if _MOVES.fullmatch(text) else start + printable_lines(text[len(start) :]))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if code in _BYTES else found[0].encode("unicode_escape").decode()

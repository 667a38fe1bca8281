"""Every command prints through the guard, and nothing gets past it to the terminal but what tqdm does."""

import ast
import logging
import os
import pty
import re
import subprocess
import sys
import termios
import traceback
from pathlib import Path

import pytest
from tqdm import tqdm

from mirl import terminal

ROOT = Path(__file__).parents[1]
NASTY = "a\x1b]0;owned\x07\x9b2J\u202eb\rc"
SHOWN = r"a\x1b]0;owned\x07\x9b2J\u202eb\rc"


def test_whatever_prints_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.guard()
    print(f"one {NASTY}\ntwo\tthree")
    sys.stdout.writelines([NASTY, "\n"])
    try:
        raise RuntimeError(NASTY)
    except RuntimeError:
        traceback.print_exc()
    logging.StreamHandler(sys.stderr).handle(logging.makeLogRecord({"msg": NASTY}))
    tqdm.write(NASTY, file=sys.stderr)
    out, err = capsys.readouterr()
    assert out == f"one {SHOWN}\ntwo\tthree\n{SHOWN}\n"
    assert err.count(SHOWN) == 3
    assert "\x1b" not in err and "\r" not in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photo.jpg", "photo.jpg"),
        ("größe 写真 👩\u200d👧 ▏█ · \xa0x", "größe 写真 👩\u200d👧 ▏█ · \xa0x"),
        ("a\x1b[2J", r"a\x1b[2J"),
        ("a\nb\tc\rd\x08", r"a\nb\tc\rd\x08"),
        ("\x7f\x9b31m\x85", r"\x7f\x9b31m\x85"),
        ("a\u202egpj.exe\u2066", r"a\u202egpj.exe\u2066"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("caf\udce9 \ud800", r"caf\xe9 \ud800"),
        ("\U000e0041\ufeff\u200b", r"\U000e0041\ufeff\u200b"),
    ],
)
def test_text_is_made_printable(text: str, expected: str) -> None:
    assert terminal.printable(text) == expected
    terminal.printable(text).encode()  # also what is no character


def test_lines_may_stay() -> None:
    assert terminal.printable_lines("a\n\tb\x1b\r\u2028") == "a\n\tb\\x1b\\r\\u2028"


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.fail(ValueError(f"{NASTY}\nerror: none"), who="mirl: ") == 2
    assert capsys.readouterr().err == f"mirl: error: {SHOWN}\\nerror: none\n"


def test_a_stream_is_guarded_once_and_stays_a_stream(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.guard()
    guarded = sys.stdout
    terminal.guard()
    assert sys.stdout is guarded and sys.stdout.isatty() is False
    print("\\x1b")
    assert capsys.readouterr().out == "\\x1b\n"


BARS = """
import sys
from tqdm import tqdm
if sys.argv[1] == "guarded":
    from mirl import terminal
    terminal.guard()
for n in tqdm(range(3), desc="outer", mininterval=0, bar_format="{desc} {n}", file=sys.stderr):
    for m in tqdm(range(2), desc="inner", mininterval=0, bar_format="{desc} {n}", leave=False, file=sys.stderr):
        tqdm.write("said", file=sys.stderr)
"""


def on_a_terminal(*arguments: str) -> bytes:
    """What a Python program writes to a terminal that is its standard error."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen([sys.executable, *arguments], stderr=theirs, cwd=ROOT):
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
    return said


def test_bars_are_drawn_as_without_it() -> None:
    guarded = on_a_terminal("-c", BARS, "guarded")
    assert b"\x1b[A" in guarded and b"\r" in guarded
    assert guarded == on_a_terminal("-c", BARS, "as it is")


ELSEWHERE = {"flows/child_process.py", "flows/remote.py"}
"""They say nothing: they become another program."""


def entry_points() -> list[str]:
    found = [path for folder in ("mirl", "flows") for path in (ROOT / folder).rglob("*.py")]
    named = [
        path.relative_to(ROOT).as_posix() for path in found if '__name__ == "__main__"' in path.read_text()
    ]
    return sorted({*named} - ELSEWHERE)


def processes() -> list[tuple[str, str]]:
    """(file, function) that a process begins with which is no command."""
    return [
        (path.relative_to(ROOT).as_posix(), target)
        for folder in ("mirl", "flows")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for target in re.findall(r"\.Process\(\s*target=(\w+)", path.read_text())
    ]


def test_there_are_processes() -> None:
    assert len(processes()) == 3


def definition(name: str, path: Path) -> ast.FunctionDef | None:
    found = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return next((node for node in found if node.name == name), None)


@pytest.mark.parametrize(("place", "name"), [*((place, "main") for place in entry_points()), *processes()])
def test_every_process_begins_with_the_guard(place: str, name: str) -> None:
    path = ROOT / place  # or, of a process, another file of its folder
    begin = next(
        filter(None, (definition(name, there) for there in [path, *sorted(path.parent.glob("*.py"))]))
    )
    first = begin.body[1] if ast.get_docstring(begin) else begin.body[0]
    assert ast.unparse(first) == "terminal.guard()"


def says_error(call: ast.Call) -> bool:
    texts = (node.value for node in ast.walk(call) if isinstance(node, ast.Constant))
    return ast.unparse(call.func) == "print" and any(
        isinstance(text, str) and "error: " in text for text in texts
    )


def test_errors_are_printed_by_one_function() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("mirl", "flows")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and says_error(node)
    ]
    assert found == ["mirl/terminal.py"]

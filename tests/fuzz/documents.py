"""YAML documents as people and machines write them, seeded: scalars whose kind is a matter of opinion, and their layout."""

import random
from collections.abc import Callable
from typing import Any

WORDS = (
    "a", "no", "No", "NO", "yes", "on", "Off", "y", "n", "true", "True", "TRUE", "tRue", "false", "null",
    "Null", "~", "", "=", "<<", "-", "?", ".", "..", ".inf", "-.INF", "+.inf", ".nan", ".NaN", "nan", "inf",
    "0", "-0", "+1", "010", "0o10", "0O10", "0x1F", "0xG", "0b11", "0b2", "0b_", "1_000", "_1", "1__0",
    "1.", ".5", ".5e2", ".5e+2", "1e3", "1E-3", "1e", "1e+", "1.e1", "6e-3", "1e999", "12e45", "0912",
    "23:20", "1:30:00", "190:20:30.15", "2026-11-30", "2026-13-30", "2026-1-1", "2026-11-30 12:30:00",
    "2026-11-30T12:30:00Z", "2026-11-30 12:30:00.5 +1:00", "9" * 30, "9" * 5000, "1e400", "é", "ß: x",
    "a b", "a#b", "a #b", "#a", "a:", "a: b", ":a", "@a", "`a`", "%a", "&a", "*a", "!a", "|", ">", "'", '"',
    "''", '""', "'a'", '"a"', '"\\x41"', '"\\u00e9"', '"\\q"', "'it''s'", "[]", "{}", "[a", "a]", "{a}",
    "{a: }", "a,b", "!!str 1", "!!int a", "!!int 1", "!!float 1", "!!bool x", "!!bool yes", "!!null x",
    "!!binary aGk=", "!!binary x", "!!set {a, b}", "!!set {a, a}", "!!omap [a: 1]", "!!omap [a: 1, a: 2]",
    "!!pairs [a: 1, a: 2]", "!!timestamp x", "!!python/name:os.system", "!x y", "\t", "a\tb", "\u2028",
    "\x85", "\ufeff", "\ufffe", "\x07", "\U0001f642", "...", "---", "--- a", "- a", "? a",
)  # fmt: skip
LETTERS = "0123456789abeEoxn+-._:~ T#'\""


def scalar(rng: random.Random) -> str:
    """One of the words that YAML 1.1 and 1.2 read differently, or a mixture of the letters that such words are made of."""
    if rng.random() < 0.6:
        return rng.choice(WORDS)
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 7)))


def document(rng: random.Random) -> str:
    """A document of a few values: blocks, flows, anchors, merges and comments, with any ends of lines."""
    begin = rng.choices(
        ["", "---\n", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n", "# comment\n", "\ufeff"], [9, 1, 1, 1, 1, 1]
    )[0]
    text = begin + _block(rng, 0) + rng.choices(["", "...\n", "---\nb: 1\n"], [9, 1, 1])[0]
    return text.replace("\n", rng.choices(["\n", "\r\n", "\r"], [8, 1, 1])[0])


def plain(rng: random.Random, depth: int = 0) -> Any:
    """Plain data: what overrides and locks are made of."""
    kind = rng.randint(0, 7 if depth < 3 else 5)
    if kind == 6:
        return [plain(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind == 7:
        return {text(rng): plain(rng, depth + 1) for _ in range(rng.randint(0, 3))}
    makers: list[Callable[[], Any]] = [
        lambda: rng.choice([None, True, False]), lambda: rng.randint(-(10**20), 10**20), lambda: rng.randint(-9, 9),
        lambda: rng.choice([0.1, 1e-5, 1e20, -0.0, 5e-324, 1.7e308, rng.gauss(0, 1)]), lambda: text(rng), lambda: text(rng),
    ]  # fmt: skip
    return makers[kind]()


def text(rng: random.Random) -> str:
    """A word that may look like something else, or any characters that a YAML file may have."""
    if rng.random() < 0.7:
        return scalar(rng).replace("\ufffe", "")
    return "".join(
        chr(rng.choice([9, 10, 32, 45, 58, 95, 0x85, 0xE9, 0x2028, 0x1F642]))
        for _ in range(rng.randint(0, 9))
    )


def _block(rng: random.Random, depth: int) -> str:
    if rng.random() < 0.3:
        return "".join(f"{'  ' * depth}- {_value(rng, depth)}" for _ in range(rng.randint(1, 3)))
    keys = [rng.choice(["a", "b", "c", "d", scalar(rng)]) for _ in range(rng.randint(1, 4))]
    return "".join(f"{'  ' * depth}{key}: {_value(rng, depth)}" for key in keys)


def _value(rng: random.Random, depth: int) -> str:
    """A value and the end of its line."""
    end = rng.choices(["\n", " # said\n"], [5, 1])[0]
    kind = rng.random()
    if kind < 0.2 and depth < 3:
        return f"{rng.choice(['', '', '&a', '&b'])}\n{_block(rng, depth + 1)}"
    if kind < 0.3:
        return f"[{', '.join(scalar(rng) for _ in range(rng.randint(0, 3)))}]{end}"
    if kind < 0.4:
        return f"{{{', '.join(f'{scalar(rng)}: {scalar(rng)}' for _ in range(rng.randint(0, 3)))}}}{end}"
    if kind < 0.5:
        return rng.choice(["&a {a: 1}", "&b [1]", "*a", "*b", "{<<: *a, a: 2}", "{<<: [*a, *a], b: 1}"]) + end
    if kind < 0.55:
        return f"{rng.choice('|>')}{rng.choice(['', '-', '+', '2'])}\n{'  ' * (depth + 1)}{scalar(rng)}\n"
    return scalar(rng) + end

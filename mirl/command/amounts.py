"""Amounts as people type them: `512M`, `24M`, `1.5`."""

import argparse
import math
import re

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def size(text: str) -> int:
    """Bytes of `512M`, `1.5G`, `1GiB` or a plain number; the units are powers of 1024."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?", text.strip().upper())
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an amount of memory; expected one like 512M or 1.5G"
        )
    return int(float(found[1]) * UNITS[found[2]])


def pixels(text: str) -> int:
    """A number of pixels like `24M`: millions are decimal, as of cameras."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(M?)", text.strip().upper())
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pixels; expected one like 24M or 500000")
    return int(float(found[1]) * (10**6 if found[2] else 1))


def whole(text: str) -> int:
    """A number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def several(text: str) -> int:
    """A number from 2 up."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 2 up")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds over 0, as a fraction or not."""
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds over 0")
    return float(text)


def positive(text: str) -> float:
    """A finite number over 0."""
    if not 0 < _number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number over 0")
    return float(text)


def share(text: str) -> float:
    """A share over 0 and up to 1."""
    if not 0 < _number(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share; expected a number over 0 and up to 1")
    return float(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

"""Argument types for amounts such as `512M`, `24M` or `1.5`.

Each raises ArgumentTypeError if the text is not such an amount.
"""

import argparse
import math
import re

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def size(text: str) -> int:
    """Parse `512M`, `1.5G`, `1GiB` or a plain number as bytes; the units are powers of 1024."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?", text.strip().upper())
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an amount of memory; expected one like 512M or 1.5G"
        )
    return int(float(found[1]) * UNITS[found[2]])


def pixels(text: str) -> int:
    """Parse a number of pixels such as `24M`; M is 10**6, as for cameras."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(M?)", text.strip().upper())
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pixels; expected one like 24M or 500000")
    return int(float(found[1]) * (10**6 if found[2] else 1))


def whole(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def several(text: str) -> int:
    """Parse a whole number of at least 2."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 2 up")
    return int(text)


def seconds(text: str) -> float:
    """Parse a number of seconds above 0; it may have a fraction."""
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds over 0")
    return float(text)


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    if not 0 < _number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number over 0")
    return float(text)


def share(text: str) -> float:
    """Parse a share in (0, 1]."""
    if not 0 < _number(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share; expected a number over 0 and up to 1")
    return float(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

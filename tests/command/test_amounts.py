"""Amounts as people type them."""

import pytest

from mirl.command.amounts import size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512", 512), ("2K", 2048), ("1.5g", 3 * 2**29), ("3MB", 3 * 2**20), ("1GiB", 2**30), ("1T", 2**40)],
)
def test_amounts_of_memory(text: str, expected: int) -> None:
    assert size(text) == expected

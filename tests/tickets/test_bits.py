import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirl.tickets.bits import MOST_LOW_BITS, decode, decode_plain, encode


def mask(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("keep", "code"),
    [
        ("", []),
        ("0000", []),
        ("1111", []),
        ("0100", [0, 0b01000000]),  # one gap of 1: no low bits, 01
        ("0101", [0, 0b01010000]),  # as many as there are not: those that are kept
        ("1011", [0, 0b01000000]),  # more kept than cut: the gaps between those that are cut
        ("00000100", [1, 0b10000000, 0b00100000]),  # a gap of 5: low bit 1, high part 2 as 001
        ("000000000000000010000001", [3, 0b00011000, 0b00110000]),  # gaps 16 and 6: 000 110; 001 1
    ],
)
def test_literal_codes(keep: str, code: list[int]) -> None:
    assert encode(mask(keep)).tolist() == code
    assert decode(np.array(code, np.uint8), len(keep), keep.count("1")).tolist() == mask(keep).tolist()


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 40))
def test_every_mask_comes_back(pattern: list[bool], stretch: int) -> None:
    keep_N = np.repeat(np.array(pattern, bool), stretch)
    assert np.array_equal(decode(encode(keep_N), keep_N.size, int(keep_N.sum())), keep_N)


@pytest.mark.parametrize("density", [0.001, 0.035, 0.1, 0.2, 0.3, 0.38, 0.5, 0.7, 0.9])
def test_chance_takes_a_twentieth_more_than_its_entropy_at_most(density: float) -> None:
    keep_N = np.random.default_rng(0).random(200_000) < density
    share = keep_N.mean()
    entropy_bits = -keep_N.size * (share * math.log2(share) + (1 - share) * math.log2(1 - share))
    assert entropy_bits < 8 * encode(keep_N).size < 1.05 * entropy_bits


@given(st.binary(max_size=40), st.integers(0, 300), st.data())
def test_what_is_no_code_is_refused_and_what_is_one_keeps_what_was_said(
    code: bytes, size: int, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, size))
    try:
        keep_N = decode(np.frombuffer(code, np.uint8), size, kept)
    except ValueError as error:
        assert "code" in str(error)
    else:
        assert keep_N.dtype == bool and keep_N.size == size and keep_N.sum() == kept


@pytest.mark.parametrize(
    ("code", "size", "kept", "sentence"),
    [
        ([], 4, 1, "0 bytes is none of 1"),
        ([0], 4, 0, "1 bytes is none of 0"),
        ([MOST_LOW_BITS + 1, 128], 4, 1, "is none of"),
        ([0], 4, 1, "marks 0"),
        ([0, 0b11000000], 4, 1, "marks 2"),
        ([0, 0b00001000], 4, 1, "behind element 3"),
        ([0, 0b10000000, 0], 4, 1, "too long"),
        ([0, 0b10000000, 0], 16, 1, "marks 1"),
        ([2, 0b01010000, 0b01000000], 8, 1, "set where there is nothing"),
        ([31, 255, 255, 255, 255, 128], 8, 1, "set where there is nothing"),
        ([31, 255, 255, 255, 254, 128], 8, 1, "behind element 7"),
    ],
)
def test_refusals(code: list[int], size: int, kept: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decode(np.array(code, np.uint8), size, kept)


def test_a_long_code_is_refused_before_it_is_unpacked() -> None:
    # 64 MiB of set bits would be half a billion places.
    with pytest.raises(ValueError, match="too long"):
        decode(np.concatenate([np.zeros(1, np.uint8), np.full(2**26, 255, np.uint8)]), 1000, 500)


def test_plain_bits_of_version_1() -> None:
    assert decode_plain(np.array([0b10100000], np.uint8), 3, 2).tolist() == [True, False, True]
    for code, kept in (([0b10110000], 2), ([0b10100000], 1), ([0b10100000, 0], 2)):
        with pytest.raises(ValueError, match="bits of 3"):
            decode_plain(np.array(code, np.uint8), 3, kept)

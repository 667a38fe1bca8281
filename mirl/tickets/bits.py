"""Compact code of a mask: the gaps between its rarer elements in Golomb-Rice codes, as the format page specifies.

Dims: N elements of the mask, M elements of the rarer kind, b low bits of a gap.
"""

from collections.abc import Callable

import numpy as np

Decode = Callable[[np.ndarray, int, int], np.ndarray]
"""(code, size, kept) -> the mask."""
MOST_LOW_BITS = 31
"""Largest number of low bits: a gap is shorter than the largest tensor."""


def encode(keep_N: np.ndarray) -> np.ndarray:
    """Encode a flat bool mask as uint8; its length and the number of kept elements are stored elsewhere."""
    kept = int(np.count_nonzero(keep_N))
    place_M = np.flatnonzero(keep_N if 2 * kept <= keep_N.size else ~keep_N)
    if not place_M.size:
        return np.zeros(0, np.uint8)
    gap_M = np.diff(place_M, prepend=-1) - 1
    b = _cheapest(gap_M)
    low_Mb = (gap_M[:, None] >> np.arange(b)[::-1] & 1).astype(bool)
    ends_M = np.cumsum(gap_M >> b) + np.arange(gap_M.size)
    high = np.zeros(int(ends_M[-1]) + 1, bool)
    high[ends_M] = True
    return np.concatenate([np.array([b], np.uint8), np.packbits(low_Mb), np.packbits(high)])


def decode(code: np.ndarray, size: int, kept: int) -> np.ndarray:
    """Decode `code` (uint8) to a mask of `size` elements, 0 <= `kept` <= `size` of them True.

    Raises ValueError if there is no such mask; takes memory for `size` elements and the bits of `code` at most.
    """
    rarer_is_kept = 2 * kept <= size
    count = kept if rarer_is_kept else size - kept
    place_M = _places(code, size, count)
    keep_N = np.full(size, not rarer_is_kept)
    keep_N[place_M] = rarer_is_kept
    return keep_N


def decode_plain(code: np.ndarray, size: int, kept: int) -> np.ndarray:
    """Decode as `decode` the masks of version 1, one bit an element. Raises ValueError if there is no such mask."""
    keep_N = np.unpackbits(code).astype(bool)
    if code.size != -(-size // 8) or keep_N[size:].any() or np.count_nonzero(keep_N) != kept:
        raise ValueError(f"it is not {kept} bits of {size}")
    return keep_N[:size]


def _places(code: np.ndarray, size: int, count: int) -> np.ndarray:
    """Return the places of the `count` rarer elements, in order. Raises ValueError if the code is invalid."""
    if not count and not code.size:
        return np.zeros(0, np.int64)
    if not count or not code.size or code[0] > MOST_LOW_BITS:
        raise ValueError(f"its code of {code.size} bytes is none of {count} elements")
    b = int(code[0])
    low, high = np.split(code[1:], [-(-count * b // 8)])
    if 8 * high.size > count + (size >> b) + 7:
        raise ValueError("its code is too long")
    ends_M = np.flatnonzero(np.unpackbits(high))
    if ends_M.size != count or not high[-1]:
        raise ValueError(f"its code marks {ends_M.size} elements")
    if b == 0:
        place_M = ends_M
    else:
        nth_M = np.arange(count)
        place_M = (ends_M - nth_M << b) + np.cumsum(_low_bits(low, count, b)) + nth_M
    if place_M[-1] >= size:
        raise ValueError(f"its code goes on behind element {size - 1}")
    return place_M


def _low_bits(low: np.ndarray, count: int, b: int) -> np.ndarray:
    """Return the last `b` bits of each gap as a number. Raises ValueError if bits are set behind them."""
    bits = np.unpackbits(low)
    if bits[count * b :].any():
        raise ValueError("its code has bits set where there is nothing")
    value_M = np.zeros(count, np.int64)
    for bit_M in bits[: count * b].reshape(count, b).T:
        value_M <<= 1
        value_M |= bit_M
    return value_M


def _cheapest(gap_M: np.ndarray) -> int:
    """Return the number of low bits that takes the fewest bits in all, the smallest if there are several."""
    b, high_M = 0, gap_M
    while True:  # a further low bit costs M bits and saves these
        halved_M = high_M >> 1
        if int(high_M.sum() - halved_M.sum()) <= gap_M.size:
            return b
        b, high_M = b + 1, halved_M

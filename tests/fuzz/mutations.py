"""Files as damage and malice make them, from files that are whole: seeded, so that a case can be made again by its number.

Blind damage hits any format. What knows a format lies where blind damage is caught at once: a PNG whose header has the right
check sum and wrong dimensions, a ticket whose digest fits its wrong header.
"""

import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from safetensors.torch import load, save

from mirl.tickets.container import KEY, seal

Mutate = Callable[[bytes, random.Random], bytes]
EXTREMES = (
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    50_000,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
)
NASTY: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    1e308,
    "",
    "x",
    "..",
    [],
    [[]],
    {},
    [2**31, 2**31],
    {"kind": "x"},
)


def mutations(whole: list[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` pairs of a name, which says the number and what was done, and the file."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        data = rng.choice(whole)
        mutate = rng.choice([*BLIND, *KNOWING[kind]] if (kind := kind_of(data)) in KNOWING else BLIND)
        yield f"{number} {kind} {mutate.__name__}", mutate(data, rng)


def kind_of(data: bytes) -> str:
    """By the first bytes."""
    if data.startswith(b"\x89PNG"):
        return "png"
    if data.startswith(b"\xff\xd8"):
        return "jpeg"
    return "ticket" if data[8:9] == b"{" else "other"


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """One to sixteen of them, half of the time near the beginning."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 16)):
        place = rng.randrange(min(len(data), 512) if rng.random() < 0.5 else len(data))
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut_off(data: bytes, rng: random.Random) -> bytes:
    """What a broken copy leaves; now and then nothing at all."""
    return data[: rng.choice([0, 1, 7, 8, rng.randrange(len(data)), len(data) - 1])]


def drop(data: bytes, rng: random.Random) -> bytes:
    """A piece from the middle."""
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 64) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """A piece twice, or the end of the file over and over."""
    start = rng.randrange(len(data))
    return data[:start] + data[start : start + 64] * rng.choice([2, 1000]) + data[start:]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """A run of noise, of nothing or of ones."""
    start, length = rng.randrange(len(data)), rng.randint(1, 256)
    run = rng.choice([rng.randbytes(length), bytes(length), b"\xff" * length])
    return data[:start] + run + data[start + length :]


def lie(data: bytes, rng: random.Random) -> bytes:
    """An extreme number somewhere in the first kilobyte, of 2, 4 or 8 bytes in either order."""
    size, order = rng.choice([2, 4, 8]), rng.choice(["big", "little"])
    number = (rng.choice(EXTREMES) % 2 ** (8 * size)).to_bytes(size, order)
    start = rng.choice([0, rng.randrange(min(len(data), 1024))])
    return data[:start] + number + data[start + size :]


def other_size(data: bytes, rng: random.Random) -> bytes:
    """A PNG that says other dimensions, depth or colours than it has, with the right check sum."""
    header = bytearray(data[12:29])
    field = rng.choice(["width", "height", "both", "kind"])
    for name, start in (("width", 4), ("height", 8)):
        if field in (name, "both"):
            header[start : start + 4] = struct.pack(">I", rng.choice(EXTREMES) % 2**32)
    if field == "kind":
        header[12:14] = bytes([rng.choice([1, 2, 4, 8, 16]), rng.choice([0, 2, 3, 4, 6])])
    return data[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + data[33:]


def other_frame(data: bytes, rng: random.Random) -> bytes:
    """A JPEG that says other dimensions than it has."""
    start = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    dimensions = struct.pack(">HH", rng.choice(EXTREMES) % 2**16, rng.choice(EXTREMES) % 2**16)
    return data[: start + 5] + dimensions + data[start + 9 :]


def other_layout(data: bytes, rng: random.Random) -> bytes:
    """A ticket whose list of tensors lies; its length is right."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    _spoil(header, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def other_header(data: bytes, rng: random.Random) -> bytes:
    """A ticket whose own header lies, sealed anew."""
    header, tensors = _open(data)
    _spoil(header, rng)
    return _close(header, tensors)


def other_tensors(data: bytes, rng: random.Random) -> bytes:
    """A ticket with other bytes, another shape or another type in one of its tensors, sealed anew."""
    header, tensors = _open(data)
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    ways = [tensor[:0], torch.cat([tensor.flatten(), tensor.flatten()]), tensor.double()]
    noise = torch.frombuffer(
        bytearray(rng.randbytes(max(tensor.nbytes, 1)))[: tensor.nbytes or 1], dtype=torch.uint8
    )
    if tensor.nbytes:
        ways += [noise.view(tensor.dtype).view(tensor.shape)] * 3
    tensors[name] = rng.choice(ways).contiguous()
    return _close(header, tensors)


BLIND: list[Mutate] = [flip_bits, cut_off, drop, repeat, overwrite, lie]
KNOWING: dict[str, list[Mutate]] = {
    "png": [other_size, other_size],
    "jpeg": [other_frame],
    "ticket": [other_layout, other_header, other_header, other_tensors, other_tensors],
}
"""Twice: drawn twice as often."""


def _spoil(value: Any, rng: random.Random) -> None:
    """Replace, drop or add one entry somewhere in nested dicts and lists."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not places:
            break
        place = rng.choice(places)
        if isinstance(value[place], dict | list) and value[place] and rng.random() < 0.7:
            value = value[place]
            continue
        if rng.random() < 0.2:
            del value[place]
        else:
            value[place] = rng.choice(NASTY)
        return
    if isinstance(value, dict):
        value["more"] = rng.choice(NASTY)


def _open(data: bytes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY]), load(data)


def _close(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    plain = {key: value for key, value in header.items() if key != "content"}
    return save(tensors, {KEY: json.dumps(plain | {"content": seal(plain, tensors)})})

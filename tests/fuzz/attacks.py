"""Attacks on who reads tickets: files that are well-formed and sealed and lie about what they are.

Seeded, so that one can be made again by its number. Where `mutations` spoils a place by chance, these know what a reader
does with it: multiply it, allocate it, build it, recurse into it, print it.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from tests.fuzz.forge import WORDS, Forged, first_version, forged, hollow, with_masks
from tests.fuzz.mask_attacks import difficult, masks, routed, submask
from tests.fuzz.odd import HUGE, ODD, a_number

Attack = Callable[[Forged, random.Random], None]
DEPTHS = (20, 31, 33, 90, 400, 900, 3000, 100_000)
MARK = "here-it-goes"


def attacks(whole: list[bytes], numbers: range, seed: int) -> Iterator[tuple[str, Forged]]:
    """For each of `numbers` a name, which says it and what was done, and the file."""
    for number in numbers:
        rng = random.Random(f"{seed}/{number}")
        file = forged(rng.choice(whole))
        if rng.random() < 0.25:
            first_version(file)
        # Each kind in turn, so that all are there; often with others on top.
        chosen = [ATTACKS[number % len(ATTACKS)], *rng.choices(ATTACKS, k=rng.choice([0, 0, 0, 1, 1, 2]))]
        for attack in chosen:
            with suppress(
                AttributeError, KeyError, TypeError, ValueError
            ):  # another has left nothing to attack
                attack(file, rng)
        yield f"{number} {' '.join(attack.__name__ for attack in chosen)}", file


def option(file: Forged, rng: random.Random) -> None:
    """Another size of the network, in one of its options or several."""
    options = file.header.get("network", {}).get("options", {})
    for name in rng.sample(sorted(options), min(len(options), rng.choice([1, 1, 2, 3]))):
        old = options[name]
        if isinstance(old, list):
            length = rng.choice([0, 1, 2, 7, 8, 100, 20_000])
            options[name] = rng.choice(
                [[rng.randint(0, 300)] * length, [a_number(rng)] * max(len(old), 1), a_number(rng)]
            )
        else:
            options[name] = a_number(rng)


def wide(file: Forged, rng: random.Random) -> None:
    """A true, but enormous network over the tensors of a small one."""
    width = rng.choice([64, 512, 2000, 4096])
    options = rng.choice([
        {"width": width, "encoder": [28] * rng.randint(1, 6), "middle": rng.choice([1, 12, 250])},
        {"width": width, "encoder": [1], "middle": 256},
    ])  # fmt: skip
    options["decoder"] = options["encoder"]
    file.header["network"] = {"name": "nafnet", "options": options, "seed": 0, "prune_prompts": False}


def layered(file: Forged, rng: random.Random) -> None:
    """The most masks for the fewest bytes, true in every part: nothing is left, or all of it."""
    if rng.random() < 0.5:
        emptied(file, rng)
    with_masks(file, rng.choice([1, 2, 4, 16, 63, 64, 65]))


def emptied(file: Forged, rng: random.Random) -> None:
    """A network in which nothing is left: the most weights for the fewest bytes, true in every part."""
    name = rng.choice(["nafnet", "restormer", "promptir"])
    if name == "nafnet":
        levels = rng.randint(1, 3)
        options = {"width": rng.choice([16, 64, 128, 256, 600]), "encoder": [0] * levels, "middle": rng.randint(1, 2),
                   "decoder": [0] * levels}  # fmt: skip
    else:
        options = {"width": rng.choice([16, 32, 64, 96]), "blocks": [1, 1], "refinement": 0, "heads": [1, 1],
                   "expansion": rng.choice([1.0, 4.0, 16.0])}  # fmt: skip
        options |= (
            {"prompt_channels": [16], "prompt_sizes": [rng.choice([8, 64])]} if name == "promptir" else {}
        )
    hollow(file, name, options)


def shape(file: Forged, rng: random.Random) -> None:
    """A parameter of other dimensions, in the header or in the list of tensors."""
    dims: Any = rng.choice([
        [rng.choice(HUGE)], [rng.choice(HUGE)] * rng.choice([2, 4, 8, 9]), [2**16, 2**15], [1] * 30_000, [2] * 40, [0],
        [-1, -1], [0, 2**62], [rng.choice(ODD)], [3000, 3000], [2**31] * 2000, [10**4200] * 100,
    ])  # fmt: skip
    name = rng.choice(sorted(file.tensors))
    shapes = file.header.get("shapes")
    if shapes and rng.random() < 0.7:
        shapes[rng.choice(sorted(shapes))] = dims
    else:
        dtype, _, data = file.tensors[name]
        file.tensors[name] = (dtype, dims, b"" if 0 in dims else data)


def claimed(file: Forged, rng: random.Random) -> None:
    """One parameter of very many elements, all of them cut; or all parameters so."""
    shapes = file.header.get("shapes", {})
    for name in rng.sample(sorted(shapes), rng.choice([0, 1, len(shapes)]) if shapes else 0):
        shapes[name] = [rng.choice([10**6, 10**7, 2**27, 2**31 - 1]), 1]
        file.tensors |= {f"mask.{name}": ("U8", [0], b""), f"kept.{name}": (_kept_type(file), [0], b"")}


def code(file: Forged, rng: random.Random) -> None:
    """Another code of a mask."""
    name = rng.choice([name for name in file.tensors if name.startswith("mask.")] or ["mask.x"])
    size = rng.choice([1, 2, 50, 5000, 300_000])
    first = rng.choice([0, 1, 8, 30, 31, 32, 255])
    data = bytes([first]) + rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size), b"\x01" * size])
    file.tensors[name] = ("U8", [len(data)], data)


def kept(file: Forged, rng: random.Random) -> None:
    """More or fewer weights, or of another type."""
    name = rng.choice([name for name in file.tensors if name.startswith("kept.")] or ["kept.x"])
    count, dtype = rng.choice([0, 1, 1000, 200_000]), rng.choice(["F32", "F16", "BF16", "I8", "F64"])
    width = {"F64": 8, "F32": 4, "I8": 1}.get(dtype, 2)
    file.tensors[name] = (
        dtype,
        [count],
        rng.choice([bytes(count * width), b"\x80\x7f" * (count * width // 2) + bytes(count * width % 2)]),
    )


def dtype(file: Forged, rng: random.Random) -> None:
    """A type that the bytes do not have, or that nobody knows."""
    name = rng.choice(sorted(file.tensors))
    _, dims, data = file.tensors[name]
    file.tensors[name] = (rng.choice([*WORDS, "F8_E4M3", "U16", "C64", "X"]), dims, data)


def other_name(file: Forged, rng: random.Random) -> None:
    """A parameter called otherwise, or none that the network has."""
    old = rng.choice(sorted(file.tensors))
    new = rng.choice(
        [
            "full.x",
            "full.",
            "x",
            "full.\x1b]0;x\x07",
            "full.a\nb",
            "full." + "y" * 100_000,
            "kept.head.weight",
            "mask.",
        ]
    )
    file.tensors[new] = file.tensors.pop(old) if rng.random() < 0.5 else file.tensors[old]


def side(file: Forged, rng: random.Random) -> None:
    """A prunable parameter that is stored whole, or one that is not as a masked one."""
    shapes = file.header.get("shapes", {})
    name = rng.choice(sorted(shapes) or [""])
    if name and rng.random() < 0.5:
        place, dims = sorted(shapes).index(name), shapes.pop(name)
        several = file.header.get("masks", [])
        for mask in several:
            del mask["kept"][place]
        for part in ("mask", "kept", "peak", *(f"sub.{number}" for number in range(len(several)))):
            file.tensors.pop(f"{part}.{name}", None)
        size = 1
        for number in dims:
            size *= number if isinstance(number, int) and 0 < number < 1000 else 1
        file.tensors[f"full.{name}"] = ("F32", dims, bytes(4 * size))
    else:
        shapes["head.bias"] = [4]
        file.tensors.pop("full.head.bias", None)
        file.tensors |= {"mask.head.bias": ("U8", [0], b""), "kept.head.bias": ("F32", [4], bytes(16))}


def many(file: Forged, rng: random.Random) -> None:
    """Thousands of tensors of next to nothing."""
    count, size = rng.choice([100, 3000, 8000, 20_000]), rng.choice([0, 1])
    start = rng.choice(["full.", "mask.", "x"])
    file.tensors |= {f"{start}{number}": ("U8", [size], bytes(size)) for number in range(count)}
    if "shapes" in file.header and rng.random() < 0.3:
        file.header["shapes"] |= {str(number): [1] for number in range(count)}


def field(file: Forged, rng: random.Random) -> None:
    """Something odd somewhere in the header, from its first level to the last."""
    place = file.header
    while True:
        key = rng.choice([*sorted(place), "more", "\x1b[2J\n"])
        if isinstance(place.get(key), dict) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        place[key] = a_number(rng)
        return


def version(file: Forged, rng: random.Random) -> None:
    """A version that there is not, or is of another file."""
    file.header["version"] = rng.choice([0, 1, 2, 3, 4, "2", 2.0, True, None, -1, 10**4200, [2]])


def density(file: Forged, rng: random.Random) -> None:
    """Other densities, or other values than there are."""
    file.header["density"] = rng.choice([{}, {"prunable": 1e308}, {"prunable": 0.1, "all": 0.1}, {"all": -1}, [0.1],
                                         {str(number): 0.5 for number in range(10_000)}])  # fmt: skip
    file.header["values"] = rng.choice(
        [{}, {"kind": "int8", "packed_from": "1" * 64}, {"kind": "fp64"}, {"kind": "fp16"}]
    )


def nested(file: Forged, rng: random.Random) -> None:
    """Brackets in brackets in brackets."""
    depth = rng.choice(DEPTHS)
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
    _place(file, rng)
    file.edits.append((f'"{MARK}"', opening * depth + "1" + closing * depth))


def digits(file: Forged, rng: random.Random) -> None:
    """Numbers that take longer to read than to write."""
    number = rng.choice(
        [
            "9" * 4000,
            "9" * 200_000,
            "1e400",
            "1" + "0" * 4299,
            "-" + "9" * 4299,
            "NaN",
            "-Infinity",
            "1." + "3" * 100_000,
        ]
    )
    count = rng.choice([1, 1, 200, 3000]) if len(number) < 5000 else 1
    _place(file, rng)
    file.edits.append((f'"{MARK}"', number if count == 1 else "[" + ",".join([number] * count) + "]"))


def twice(file: Forged, rng: random.Random) -> None:
    """A key that stands there twice, so that two readers may see two tickets."""
    key = rng.choice(sorted(file.header))
    file.edits.append(("{", '{"' + key + '": ' + rng.choice(["0", '{"a": 1}', '"mirl-ticket"']) + ", "))


def long(file: Forged, rng: random.Random) -> None:
    """A header of megabytes: one string, many keys, or spaces."""
    size = rng.choice([10**4, 10**6, 2 * 10**6])
    if rng.random() < 0.3:
        file.padding = 8 * size
    elif rng.random() < 0.5:
        _place(file, rng, "s" * size)
    else:
        _place(file, rng, {f"key-{number}": number for number in range(size // 20)})


def hole(file: Forged, rng: random.Random) -> None:
    """A file of gigabytes that takes no room on the disk."""
    file.hole = rng.choice([4 * 10**6, 10**9, 3 * 10**9, 10**11])


def _place(file: Forged, rng: random.Random, value: Any = MARK) -> None:
    """Put `value` where a reader may take it for what it expects."""
    header = file.header
    lineage, network = header.get("lineage", header), header.get("network", header)
    lineage, network = (part if isinstance(part, dict) else header for part in (lineage, network))
    holder, key = rng.choice([
        (header, "step"), (header, "shapes"), (header, "more"), (header, "routing"), (header, "density"),
        (header, "version"), (lineage, "settings"), (lineage, "seed"), (lineage, "name"), (network, "options"),
        (network, "seed"), (network, "name"),
    ])  # fmt: skip
    holder[key] = value


def _kept_type(file: Forged) -> str:
    values = file.header.get("values")
    return "I8" if isinstance(values, dict) and values.get("kind") == "int8" else "F32"


def foreign(file: Forged, rng: random.Random) -> None:
    """A network whose name is code that somebody may run: of Python, of mirl, of a folder."""
    names = [
        "os:system",
        "mirl.networks.nafnet:Nafnet",
        "tests.fuzz.mutations:Path",
        f"{'a.' * 90}b:C",
        "antigravity:fly",
    ]
    file.header["network"] |= {"name": rng.choice(names), "source": rng.choice(["a" * 64, "", 3])}


ATTACKS: list[Attack] = [
    option, option, wide, emptied, emptied, shape, claimed, code, kept, dtype, other_name, side, many, field,
    version, density, nested, digits, twice, long, hole, layered, submask, masks, routed, difficult,
    foreign,
]  # fmt: skip
"""Twice: made twice as often."""

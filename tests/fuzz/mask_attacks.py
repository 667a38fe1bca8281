"""Attacks on what version 3 adds: several masks, their codes, and what chooses one of them."""

import math
import random

from tests.fuzz.forge import Forged, with_masks
from tests.fuzz.odd import HUGE, ODD, a_number


def submask(file: Forged, rng: random.Random) -> None:
    """Another code of one of several masks, none, or one too many."""
    with_masks(file, rng.randint(1, 4))
    name = rng.choice([name for name in file.tensors if name.startswith("sub.")] or ["sub.0.head.weight"])
    size = rng.choice([0, 1, 2, 50, 5000, 300_000])
    data = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size), b"\x1f" + b"\x01" * size])
    what = rng.random()
    if what < 0.2:
        del file.tensors[name]
    elif what < 0.4:
        new = rng.choice(
            ["sub.64.head.weight", "sub.-1.head.weight", "sub.00.head.weight", "sub.0.head.bias", "sub.0."]
        )
        file.tensors[new] = file.tensors[name]
    else:
        file.tensors[name] = (rng.choice(["U8", "U8", "U8", "I8", "BOOL"]), [len(data)], data)


def masks(file: Forged, rng: random.Random) -> None:
    """What the header says of several masks: how many there are, their names, and how much each keeps."""
    with_masks(file, rng.randint(1, 4))
    listed = file.header["masks"]
    mask = rng.choice(listed)
    place = rng.randrange(len(mask["kept"]))
    rng.choice([
        lambda: listed.append(mask), lambda: listed.remove(mask), lambda: listed.extend(listed * 40), listed.reverse,
        lambda: listed.extend({"name": f"n{number}", "kept": []} for number in range(20_000)),
        lambda: mask.update(name=rng.choice(ODD)), lambda: mask.update(kept=[0] * rng.choice([0, 1, 100_000])),
        lambda: mask.update(kept=[a_number(rng)] * len(mask["kept"])), lambda: mask["kept"].append(0),
        lambda: mask["kept"].__setitem__(place, rng.choice([0, 1, 10**6, *HUGE])), mask["kept"].reverse,
        lambda: mask["kept"].__setitem__(place, mask["kept"][place] + rng.choice([-1, 1])),
    ])()  # fmt: skip


def routed(file: Forged, rng: random.Random) -> None:
    """Another routing, of masks that are there or not."""
    if rng.random() < 0.7:
        with_masks(file, rng.randint(1, 4))
    listed = file.header.get("masks", [])
    name = rng.choice([mask["name"] for mask in listed] or ["one"])
    file.header["routing"] = rng.choice([
        {"kind": "static"}, {"kind": "task"}, {"kind": "task", "tasks": {}}, {"kind": "task", "tasks": {"derain": name}},
        {"kind": "task", "tasks": {"derain": "none"}}, {"kind": "task", "tasks": {"derain": a_number(rng)}},
        {"kind": "task", "tasks": {"\x1b[31m": name}}, {"kind": "task", "tasks": {f"t{n}": name for n in range(9000)}},
        {"kind": "work", "levels": {name: 1.0}}, {"kind": "work", "levels": {name: 0.5, "none": 1.0}},
        {"kind": "work", "levels": {mask["name"]: (n + 1) / len(listed) for n, mask in enumerate(listed)}},
        {"kind": "static", "tasks": {"derain": name}}, {"kind": a_number(rng)}, a_number(rng),
    ])  # fmt: skip


def difficult(file: Forged, rng: random.Random) -> None:
    """Routing by difficulty with other levels, patches or prices, or another router than its levels need."""
    masks = [mask["name"] for mask in file.header.get("masks", [])] or ["one"]
    works = [(number + 1) / len(masks) for number in range(len(masks))]
    points = [
        {"price": float(-number), "work": work, "shares": [0.5] * len(masks)}
        for number, work in enumerate(works)
    ]
    routing = {
        "kind": "difficulty", "levels": dict(zip(masks, works)), "patch": 8, "work": 0.5,
        "curve": points + [{"price": -1e300, "work": 1.0, "shares": [0.5] * len(masks)}] * (len(points) < 2),
    }  # fmt: skip
    network = file.header.get("network")
    router = {"outputs": len(masks), "channels": rng.choice([1, 4, 256, *HUGE])}
    rng.choice([
        lambda: routing.update(patch=rng.choice([0, -8, 1, 2**15, 2**60, *HUGE])), lambda: points.reverse(),
        lambda: routing.update(work=a_number(rng)), lambda: routing.update(curve=[]), lambda: routing.update(levels={}),
        lambda: routing.update(curve=points * 3000), lambda: points[0].update(price=a_number(rng)),
        lambda: points[0].update(shares=[a_number(rng)] * rng.choice([1, 3, 10_000])),
        lambda: points[-1].update(work=a_number(rng)), lambda: router.update(outputs=rng.choice([0, 1, 2, 16, *HUGE])),
        lambda: router.update(more=1), lambda: None,
    ])()  # fmt: skip
    if isinstance(network, dict) and rng.random() < 0.8:
        network["router"] = rng.choice([router, router, a_number(rng), None, {}])
    file.header["routing"] = routing
    wide, outputs = rng.choice([1, 4]), len(masks)
    if rng.random() < 0.5:  # a router that fits
        router["channels"] = wide
        shapes = {
            "squares.weight": [wide, 3, 4, 4], "squares.bias": [wide], "hidden.0.weight": [wide, wide, 1, 1],
            "hidden.0.bias": [wide], "hidden.1.weight": [wide, wide, 1, 1], "hidden.1.bias": [wide],
            "score.weight": [outputs, 2 * wide], "score.bias": [outputs],
        }  # fmt: skip
        for name, shape in shapes.items():
            size = 4 * math.prod(shape)
            data = rng.choice([bytes(size), b"\x7f\x7f\xff\xff" * (size // 4), rng.randbytes(size)])
            file.tensors[f"full.router.{name}"] = ("F32", shape, data)

"""A ticket file as an attacker has it: everything in it can be a lie, and the seal fits all the same."""

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mirl.networks import NetworkSection, outline, prunable
from mirl.tickets import bits
from mirl.tickets.container import KEY

Held = tuple[str, list[int], bytes]
"""safetensors' dtype, the shape, and the bytes."""
WORDS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
         "I8": "int8", "U8": "uint8", "BOOL": "bool"}  # fmt: skip
"""What the seal calls a dtype."""


@dataclass
class Forged:
    """A file before it is written."""

    header: dict[str, Any]
    tensors: dict[str, Held]
    edits: list[tuple[str, str]] = field(default_factory=list)
    """What is exchanged in the text of the header after it was sealed."""
    padding: int = 0
    """Spaces behind the list of tensors."""
    hole: int = 0
    """Bytes at the end that take no room on the disk; they are of the tensor `full.hole`."""

    def write(self, path: Path) -> None:
        """Put it at `path`, sealed where its header can be written as JSON at all."""
        sealed = self.header | {"content": self._seal()}
        text = json.dumps(sealed)
        for old, new in self.edits:
            text = text.replace(old, new, 1)
        listed: dict[str, Any] = {"__metadata__": {KEY: text}}
        place = 0
        for name, (dtype, shape, data) in self.tensors.items():
            listed[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(data)]}
            place += len(data)
        if self.hole:
            offsets = [place, place + self.hole]
            listed["full.hole"] = {"dtype": "F32", "shape": [self.hole // 4], "data_offsets": offsets}
        head = json.dumps(listed).encode() + b" " * self.padding
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(head)) + head)
            file.writelines(data for _, _, data in self.tensors.values())
            file.truncate(file.tell() + self.hole)

    def _seal(self) -> str:
        digest = hashlib.sha256(_canonical(self.header))
        for name, (dtype, shape, data) in sorted(self.tensors.items()):
            digest.update(_canonical([name, WORDS.get(dtype, dtype), shape]))
            digest.update(data)
        return digest.hexdigest()


def forged(data: bytes) -> Forged:
    """What a whole ticket or state file holds."""
    length = struct.unpack("<Q", data[:8])[0]
    listed = json.loads(data[8 : 8 + length])
    header = json.loads(listed.pop("__metadata__")[KEY])
    header.pop("content")
    rest = data[8 + length :]
    held = {
        name: (part["dtype"], part["shape"], rest[slice(*part["data_offsets"])])
        for name, part in sorted(listed.items(), key=lambda item: item[1]["data_offsets"])
    }
    return Forged(header, held)


def first_version(file: Forged) -> None:
    """The same ticket as version 1 has it: masks as plain bits."""
    if file.header["version"] != 2 or file.header["values"]["kind"] != "fp32":
        return
    del file.header["values"]
    file.header["version"] = 1
    for name, shape in file.header["shapes"].items():
        kept = len(file.tensors[f"kept.{name}"][2]) // 4
        code = np.frombuffer(file.tensors[f"mask.{name}"][2], np.uint8)
        plain = np.packbits(bits.decode(code, math.prod(shape), kept)).tobytes()
        file.tensors[f"mask.{name}"] = ("U8", [len(plain)], plain)


def with_masks(file: Forged, count: int) -> None:
    """The same ticket as version 3 has it, with so many masks that are told by their tasks and keep nothing but the last,
    which keeps all."""
    if file.header["version"] != 2:
        return
    names, params = [f"m{number}" for number in range(count)], sorted(file.header["shapes"])
    kept = [file.tensors[f"kept.{name}"][1][0] for name in params]
    for number in range(count):
        file.tensors |= {f"sub.{number}.{name}": ("U8", [0], b"") for name in params}
    file.header |= {
        "version": 3,
        "masks": [{"name": name, "kept": kept if name == names[-1] else [0] * len(kept)} for name in names],
        "routing": {"kind": "task", "tasks": {"derain": names[0]} | {f"for-{name}": name for name in names}},
    }


def hollow(file: Forged, name: str, options: dict[str, Any]) -> None:
    """A ticket of that network, true in all its parts, in which everything prunable is cut."""
    section = NetworkSection(name=name, options=options)
    network = outline(section)
    cut = prunable(network, section.prune_prompts)
    file.tensors = {}
    whole = 0
    for key, tensor in network.state_dict().items():
        if key in cut:
            file.tensors |= {f"mask.{key}": ("U8", [0], b""), f"kept.{key}": ("F32", [0], b"")}
        else:
            whole += tensor.numel()
            file.tensors[f"full.{key}"] = ("F32", list(tensor.shape), bytes(4 * tensor.numel()))
    elements = sum(tensor.numel() for tensor in cut.values())
    file.header.pop("masks", None)
    file.header |= {
        "version": 2,
        "format": "mirl-ticket",
        "network": section.model_dump(),
        "shapes": {key: list(tensor.shape) for key, tensor in cut.items()},
        "routing": {"kind": "static"},
        "values": {"kind": "fp32", "packed_from": ""},
        "density": {"prunable": 0.0, "all": whole / (whole + elements)},
    }


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

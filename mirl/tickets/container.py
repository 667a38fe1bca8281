"""A safetensors file with one JSON header, sealed by a digest, written whole or not at all. No pickle.

Tickets and states are two uses of it: `format` and `version` in the header tell them apart.
"""

import hashlib
import json
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mirl.config import UserError
from mirl.files import open_file, refuse_special, write_whole
from mirl.sparsity.mask import State

KEY = "mirl"
"""Name of the header in the file's metadata, its only entry."""
MENDING = "copy or make it again"
SAVE = "save what it gives as a file first"
DEPTH = 32
"""To which objects and arrays of a header may be nested."""

Shapes = dict[str, tuple[str, list[int]]]
"""safetensors' dtype name and the shape of every tensor in a file."""


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """What a file must be to be read."""

    format: str
    version: int
    """The newest there is; all since the first can be read."""
    header_bytes: int = 2**20
    """Of its tensors' names and shapes and our header together, at most: full-size PromptIR takes an eighth of it."""
    file_bytes: int = 2**31
    """Of a whole file at most: it may claim any size, and take no room on the disk."""


def save_sealed(path: Path, kind: FileKind, header: Mapping[str, Any], tensors: State) -> str:
    """Write header and contiguous tensors; return the file's sha256. The same input gives the same bytes.

    UserError where the disk is full or the folder cannot be written; nothing is left then.
    """
    plain = {**header, "format": kind.format, "version": kind.version}
    sealed = plain | {"content": seal(plain, tensors)}
    data = save(tensors, {KEY: _canonical(sealed)})
    if int.from_bytes(data[:8], "little") > kind.header_bytes:
        raise UserError(f"{path} would have a header of over {kind.header_bytes} bytes; shorten its settings")
    try:
        write_whole(path, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; mend that and run it again") from None
    return hashlib.sha256(data).hexdigest()


def load_header(path: Path, kind: FileKind) -> tuple[dict[str, Any], Shapes]:
    """The header and what tensors there are, without reading those.

    UserError where the file is missing, truncated, not of this kind, or newer than this reader.
    """
    _refuse_large(path, kind)
    with _opened(path) as file:
        text = (file.metadata() or {}).get(KEY)
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        shapes = {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
    try:
        header = json.loads(text, object_pairs_hook=_object) if text else None
        _check_plain(header)
        _canonical(header)  # refuses NaN and infinity, which json.loads takes
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != kind.format:
        raise UserError(f"{path} is not a {kind.format} file; name one that mirl wrote")
    version = header.get("version")
    if type(version) is int and version > kind.version:
        raise UserError(
            f"{path} is {kind.format} version {version}, but this mirl reads up to {kind.version}; "
            "install a newer mirl"
        )
    if type(version) is not int or version < 1:
        raise UserError(
            f"{path} has version {reprlib.repr(version)} of {kind.format}, which does not exist; {MENDING}"
        )
    return header, shapes


def load_tensors(path: Path, header: Mapping[str, Any]) -> State:
    """The tensors in memory of their own; UserError where they, or the header, are not what was sealed."""
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    plain = {key: value for key, value in header.items() if key != "content"}
    if seal(plain, tensors) != header.get("content"):
        raise UserError(f"{path} is damaged or was changed after it was written (digest differs); {MENDING}")
    return tensors


def seal(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 over the header and then, by name, every tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(_canonical(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        words = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        digest.update(_canonical(words).encode())
        digest.update(_bytes(tensor).data)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """sha256 of the whole file."""
    with open_file(path, SAVE) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_large(path: Path, kind: FileKind) -> None:
    """UserError if the file or its header is larger than any that is read; what else is wrong is found by parsing."""
    _refuse_folder(path)
    try:
        with open_file(path, SAVE) as file:
            length, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _unreadable(path, error) from None
    if size > kind.file_bytes:
        raise UserError(
            f"{path} has {size} bytes, expected at most {kind.file_bytes}; name a file that mirl wrote"
        )
    if kind.header_bytes < length <= size - 8:
        raise UserError(
            f"{path} has a header of {length} bytes, expected at most {kind.header_bytes}; {MENDING}"
        )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where a key stands in it twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _check_plain(value: Any, depth: int = 0) -> None:
    """ValueError unless numbers fit 64 bits and nothing is nested too deeply to be looked at."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError("a number does not fit 64 bits")
    if isinstance(value, dict | list):
        if depth == DEPTH:
            raise ValueError("it is nested too deeply")
        for part in value.values() if isinstance(value, dict) else value:
            _check_plain(part, depth + 1)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it, such as {path / 'ticket.safetensors'}")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror or error}; name a file that mirl wrote")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    refuse_special(path, SAVE)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise _unreadable(path, error) from None
    except (MemoryError, RuntimeError) as error:  # the second is torch's word for it
        raise UserError(
            f"{path} takes more memory than there is ({error}); free some, or {MENDING}"
        ) from None
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or no safetensors file ({error}); {MENDING}") from None


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.reshape(-1).view(torch.uint8).numpy()

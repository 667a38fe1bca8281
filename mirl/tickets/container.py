"""Safetensors file with one JSON header, sealed by a digest, written whole or not at all. No pickle.

Tickets and states are two uses of it: `format` and `version` in the header tell them apart.
"""

import hashlib
import io
import json
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mirl.config import UserError
from mirl.files import open_file, write_whole
from mirl.sparsity.mask import State

KEY = "mirl"
"""Name of the header in the file's metadata, its only entry."""
MENDING = "copy or make it again"
SAVE = "save what it gives as a file first"
DEPTH = 32
"""Largest depth to which objects and arrays of a header may be nested."""
SAID = 200
"""Largest number of characters shown of a message from safetensors about a file."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types that tensors stored whole may have, by their names in safetensors."""

Shapes = dict[str, tuple[str, list[int]]]
"""safetensors' dtype name and the shape of every tensor in a file."""


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """Format, version and limits that a file must meet to be read."""

    format: str
    version: int
    """Newest version; all versions since the first can be read."""
    header_bytes: int = 2**20
    """Largest size in bytes of the tensors' names and shapes and our header together: full-size PromptIR takes an
    eighth of it."""
    file_bytes: int = 2**31
    """Largest size in bytes of a whole file: it may claim any size, and take no room on the disk."""


def save_sealed(
    path: Path, kind: FileKind, header: Mapping[str, Any], tensors: State, version: int | None = None
) -> str:
    """Write header and contiguous tensors; return the SHA-256 digest of the file. Same input, same bytes.

    `version`: the oldest version that can hold the content; None is the newest. Raises UserError if the header is too
    large, the disk is full or the folder cannot be written; nothing is left then.
    """
    plain = {**header, "format": kind.format, "version": version or kind.version}
    sealed = plain | {"content": seal(plain, tensors)}
    data = save(tensors, {KEY: _canonical(sealed)})
    if int.from_bytes(data[:8], "little") > kind.header_bytes:
        raise UserError(
            f"{path} would have a header of over {kind.header_bytes} bytes; shorten its settings, or make fewer masks"
        )
    try:
        write_whole(path, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; mend that and run it again") from None
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class SealedFile:
    """Open file of ours, whose header has been read and whose tensors have not."""

    path: Path
    header: dict[str, Any]
    shapes: Shapes
    _tensors: Any
    _bytes: io.BufferedReader

    def tensors(self) -> State:
        """Read the tensors into memory of their own.

        Raises UserError if the tensors or the header are not what was sealed.
        """
        with _in_words(self.path):
            tensors = {name: self._tensors.get_tensor(name).clone() for name in self.shapes}
        plain = {key: value for key, value in self.header.items() if key != "content"}
        if seal(plain, tensors) != self.header.get("content"):
            raise UserError(
                f"{self.path} is damaged or was changed after it was written (digest differs); {MENDING}"
            )
        return tensors

    def sha256(self) -> str:
        """Return the SHA-256 digest of the whole file."""
        self._bytes.seek(0)
        return hashlib.file_digest(self._bytes, "sha256").hexdigest()


@contextmanager
def opened(path: Path, kind: FileKind) -> Iterator[SealedFile]:
    """Open the file at `path` and read its header and the list of its tensors, but not the tensors.

    Raises UserError if the file is missing, truncated, too large, not of this kind, or newer than this reader.
    """
    with _handle(path, kind) as handle, ExitStack() as stack:
        with _in_words(path):
            file = stack.enter_context(safe_open(_in_utf8(path, handle), framework="pt"))
            text = (file.metadata() or {}).get(KEY)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
            shapes = {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
        header = _header(path, kind, text)
        yield SealedFile(path=path, header=header, shapes=shapes, _tensors=file, _bytes=handle)


def _in_utf8(path: Path, handle: BinaryIO) -> str:
    """Return a name of the open file that safetensors can take: names are bytes, and it wants UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"/dev/fd/{handle.fileno()}"
    return str(path)


def _header(path: Path, kind: FileKind, text: str | None) -> dict[str, Any]:
    """Return the header of a file, checked as far as every kind has it.

    Raises UserError if the file is not of this kind, or newer than this reader.
    """
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
    return header


def seal(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 digest of the header and then, by name, of every tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(_canonical(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        words = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        digest.update(_canonical(words).encode())
        digest.update(_bytes(tensor).data)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 digest of the whole file."""
    with open_file(path, SAVE) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _handle(path: Path, kind: FileKind) -> Iterator[io.BufferedReader]:
    """Open the bytes of the file.

    Raises UserError if the file cannot be read, or the file or its header is too large; parsing finds other faults.
    """
    _refuse_folder(path)
    try:
        handle = open_file(path, SAVE)
    except OSError as error:
        raise _unreadable(path, error) from None
    with handle:
        length, size = int.from_bytes(handle.read(8), "little"), os.fstat(handle.fileno()).st_size
        if size > kind.file_bytes:
            raise UserError(
                f"{path} has {size} bytes, expected at most {kind.file_bytes}; name a file that mirl wrote"
            )
        if kind.header_bytes < length <= size - 8:
            raise UserError(
                f"{path} has a header of {length} bytes, expected at most {kind.header_bytes}; {MENDING}"
            )
        yield handle


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError if a key stands in the object twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _check_plain(value: Any, depth: int = 0) -> None:
    """Raises ValueError if a number does not fit 64 bits, or something is nested more than DEPTH deep."""
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
def _in_words(path: Path) -> Iterator[None]:
    """Turn errors of torch and of the reader of safetensors into a UserError."""
    try:
        yield
    except OSError as error:
        raise _unreadable(path, error) from None
    except (MemoryError, RuntimeError) as error:  # the second is torch's word for it
        raise UserError(
            f"{path} takes more memory than there is ({error}); free some, or {MENDING}"
        ) from None
    except SafetensorError as error:
        said = str(error)  # which may quote what stands in the file
        short = said if len(said) <= SAID else f"{said[:SAID]}..."
        raise UserError(f"{path} is truncated or no safetensors file ({short}); {MENDING}") from None


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.reshape(-1).view(torch.uint8).numpy()

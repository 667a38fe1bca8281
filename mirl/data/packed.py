"""Packed pixels: every picture of a prepared data set in one memory-mapped Arrow file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from mirl.config import UserError
from mirl.data import manifest
from mirl.data.tasks import from_plain

MANIFEST, PIXELS = "manifest.parquet", "pixels.arrow"

_SCHEMA = pa.schema(
    {
        "sha256": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "dtype": pa.string(),
        "pixels": pa.large_binary(),
    },
    metadata={"mirl.format": manifest.FORMAT},
)
_SHAPES = {"uint8": (3,), "float32": ()}
"""Colour pictures are height x width x 3 of uint8, depths height x width of float32."""


def pixel_sha256(pixels: np.ndarray) -> str:
    """Return the SHA-256 digest (64 hex digits) of the shape, type and values of `pixels`."""
    found = hashlib.sha256(f"{pixels.dtype} {pixels.shape}".encode())
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()


class PixelWriter:
    """Writer that appends pictures to a new file one at a time; identical pixels are stored once."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._stream = pa.ipc.new_file(self._file, _SCHEMA)
        self._rows: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._file.close()

    def add(self, pixels: np.ndarray) -> tuple[int, str]:
        """Add a picture, uint8 H x W x 3 or float32 H x W, and return its row and SHA-256 digest."""
        named = pixel_sha256(pixels)
        if named not in self._rows:
            self._rows[named] = len(self._rows)
            height, width = pixels.shape[:2]
            values = pa.array([pixels.tobytes()], pa.large_binary())
            columns = [pa.array([named]), pa.array([height], pa.int32()), pa.array([width], pa.int32())]
            columns += [pa.array([str(pixels.dtype)]), values]
            self._stream.write_batch(pa.record_batch(columns, schema=_SCHEMA))
        return self._rows[named], named


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture or pair as a restoration task sees it: rows of `PackedImages`."""

    image: str
    clean: int
    degraded: int | None
    """Row of the degraded picture; None if the degradation is added when the item is used."""
    depth: int | None


class PackedImages:
    """Prepared data set, memory-mapped: only pixels that are used are read."""

    def __init__(self, folder: Path) -> None:
        """Open the data set in `folder`. Raises UserError if it is not a whole prepared data set."""
        self.folder = folder
        self.manifest, self.digest, tasks = manifest.read(folder / MANIFEST)
        self.tasks = from_plain(tasks, str(folder / MANIFEST))
        """The study's tasks, by name."""
        path = folder / PIXELS
        try:
            self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        except FileNotFoundError:
            raise UserError(f"{path} does not exist; `dvc repro prepare` makes it") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(
                f"{path} is cut off or no Arrow file ({error}); run `dvc repro prepare`"
            ) from None
        if len(self.manifest) and int(self.manifest["row"].max()) >= self._file.num_record_batches:
            raise UserError(f"{path} holds fewer pictures than {MANIFEST} names; prepare the data again")
        self._views: dict[int, np.ndarray] = {}

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Pickle the data set as its folder, which another process opens again."""
        return type(self), (self.folder,)

    def image(self, row: int) -> np.ndarray:
        """Return the pixels at `row`, read-only and without a copy: uint8 H x W x 3, or a depth, float32 H x W."""
        if row not in self._views:
            self._views[row] = self._view(row)
        return self._views[row]

    def items(self, split: str, task: str) -> list[Item]:
        """List the items of `split` for `task`, by name: its pairs, or the clean photographs for a task without pairs.

        The list is empty if a paired task has no pairs.
        """
        rows = self.manifest[self.manifest["split"] == split]
        chosen = rows[rows["task"] == task]
        if chosen.empty and task and not self.tasks[task].paired:
            chosen = rows[rows["task"] == ""]
        places = {role: part.set_index("image")["row"].to_dict() for role, part in chosen.groupby("role")}
        degraded, depth = places.get("degraded", {}), places.get("depth", {})
        return [
            Item(image=str(image), clean=row, degraded=degraded.get(image), depth=depth.get(image))
            for image, row in sorted(places.get("clean", {}).items())
        ]

    def photographs(self, split: str) -> list[Item]:
        """List the clean photographs of `split` that belong to no pair, by name."""
        return self.items(split, "")

    def verify(self) -> None:
        """Read all pixels once and compare them with the manifest.

        Raises UserError, which names the first picture that differs.
        """
        for row in manifest.rows(self.manifest):
            pixels = self.image(row.row)
            if pixels.shape[:2] != (row.height, row.width) or pixel_sha256(pixels) != row.sha256:
                raise UserError(
                    f"{self.folder / PIXELS}: the pixels of {row.image} ({row.role}) are not those that "
                    f"{MANIFEST} names; prepare the data again"
                )

    def _view(self, row: int) -> np.ndarray:
        batch = self._file.get_batch(row)
        dtype = batch["dtype"][0].as_py()
        shape = (batch["height"][0].as_py(), batch["width"][0].as_py(), *_SHAPES[dtype])
        return np.frombuffer(batch["pixels"][0].as_buffer(), dtype).reshape(shape)

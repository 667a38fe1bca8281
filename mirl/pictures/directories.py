"""Directories of a TIFF file, of which EXIF is a kind: fields of whole numbers and of bytes, and where they lie.

Standards: TIFF 6.0 and BigTIFF.
"""

import struct
from dataclasses import dataclass

MOST = 1000
"""Values of a field that are read at most: a file may claim any number."""
BYTES = ("B", "s")
"""Forms of fields that hold bytes or text."""
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "2I", 7: "s", 13: "I", 16: "Q", 18: "Q"}
_SIZES = {"B": 1, "s": 1, "H": 2, "I": 4, "2I": 8, "Q": 8}


@dataclass(frozen=True)
class Field:
    """One field: where its entry is behind the tag, and where its values are."""

    place: int
    values_place: int
    form: str
    """Of one value, by the letters of `struct`."""
    size: int
    """Bytes of all values."""
    values: tuple[int, ...]
    """The first MOST; a fraction is two of them, and text none."""


@dataclass(frozen=True)
class Directory:
    """Tag -> field, and the place of the next directory with where that stands."""

    fields: dict[int, Field]
    following: int
    following_place: int

    def first(self, tag: int, otherwise: int = 0) -> int:
        """Return the first value of a field."""
        return self.fields[tag].values[0] if tag in self.fields else otherwise

    def all(self, tag: int) -> tuple[int, ...]:
        """Return the values of a field, none if it is missing."""
        return self.fields[tag].values if tag in self.fields else ()


class Directories:
    """Reader of the directories in `data`. Raises ValueError if `data` does not begin like a TIFF file."""

    def __init__(self, data: bytes) -> None:
        orders = {b"II": "<", b"MM": ">"}
        if data[:2] not in orders or len(data) < 16:
            raise ValueError("no TIFF")
        self.data, self.order = data, orders[data[:2]]
        self.big = self._numbers("H", 2)[0] == 43
        self.first = self._numbers("Q", 8)[0] if self.big else self._numbers("I", 4)[0]

    def read(self, place: int) -> Directory:
        """Return the directory at `place`. Raises ValueError if it is not within the file."""
        count_form, entry_form, size = ("Q", "HHQ", 8) if self.big else ("H", "HHI", 4)
        count = self._numbers(count_form, place)[0]
        begin = place + struct.calcsize(count_form)
        entry_size = struct.calcsize("=" + entry_form) + size
        fields = dict[int, Field]()
        for entry in range(begin, min(begin + count * entry_size, len(self.data)), entry_size):
            tag, kind, length = self._numbers(entry_form, entry)
            if kind in _TYPES and length:
                field = self._field(entry + 2, _TYPES[kind], length, entry + entry_size - size)
                fields |= {tag: field} if field else {}
        end = begin + count * entry_size
        return Directory(fields, self._numbers("Q" if self.big else "I", end)[0], end)

    def bytes_of(self, field: Field) -> bytes:
        """Return the values of a field as they are stored."""
        return self.data[field.values_place : field.values_place + field.size]

    def _field(self, place: int, form: str, length: int, at: int) -> Field | None:
        size = length * _SIZES[form]
        if size > (8 if self.big else 4):
            at = self._numbers("Q" if self.big else "I", at)[0]
        if at + size > len(self.data):
            return None
        values = () if form == "s" else self._numbers(form * min(length, MOST), at)
        return Field(place, at, form, size, values)

    def _numbers(self, form: str, place: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + form, self.data, place)
        except (struct.error, OverflowError):
            raise ValueError("beyond the end") from None

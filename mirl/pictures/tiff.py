"""Pictures of a TIFF file, by its directories: a small preview may come before the picture itself.

Cameras' raw files (NEF, DNG, ARW, CR2) are TIFFs too, of which decoders show the preview. Standards: TIFF 6.0, its
supplement 1 (SubIFDs), TIFF/EP and BigTIFF.
"""

from dataclasses import dataclass

from mirl.errors import UserError
from mirl.pictures.directories import Directories, Directory

REDUCED = 1
"""Bit of NewSubfileType: a smaller copy of another picture of the file."""
RAW = {32803: "a colour filter array", 34892: "linear raw colours"}
"""Photometric interpretations of what a camera's sensor saw."""
NO_ALPHA = 0
"""ExtraSamples: a channel of which nothing is known."""
MOST = 1000
"""Directories that are looked at: a file may lead in circles."""

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _CHILDREN, _EXTRA = 254, 255, 256, 257, 262, 330, 338


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a TIFF file."""

    width: int
    height: int
    kind: int
    """Bits of NewSubfileType."""
    photometric: int
    extra: tuple[int, ...]
    """Meaning of each channel beyond the colours."""
    child: bool
    """True if it belongs to another picture, as one of its SubIFDs."""

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height


def refuse_others(data: bytes, name: str) -> None:
    """Raise UserError, which calls the file `name`, unless its first picture is the one that it is about.

    Smaller copies of that picture may follow it.
    """
    found = pictures(data)
    raw = next((RAW[picture.photometric] for picture in found if picture.photometric in RAW), None)
    if raw:
        raise UserError(
            f"{name} is a camera's raw file ({raw}), of which only a preview can be read; develop it, and save it as "
            "a TIFF"
        )
    if not found:
        return
    first, *others = found
    largest = max(found, key=lambda picture: picture.pixels)
    if first.kind & REDUCED or largest.pixels > first.pixels:
        raise UserError(
            f"{name} begins with a preview of {first.width} x {first.height} pixels, and its picture has "
            f"{largest.width} x {largest.height}; save that as a file of its own"
            if largest is not first
            else f"{name} holds a preview of {first.width} x {first.height} pixels alone; get the picture itself"
        )
    if NO_ALPHA in first.extra:
        raise UserError(
            f"{name} has a channel beside its colours that is no alpha; only grey and RGB can be read, so save it "
            "without that channel"
        )
    pages = [one for one in others if not (one.pixels < first.pixels and (one.child or one.kind & REDUCED))]
    if pages:
        raise UserError(
            f"{name} holds {len(pages) + 1} pages; only single pictures can be read, so save one of them"
        )


def pictures(data: bytes) -> list[Picture]:
    """Return the pictures of a TIFF file, the first first; what cannot be followed is left to the decoder."""
    try:
        directories = Directories(data)
    except ValueError:
        return []
    found = list[Picture]()
    waiting, seen = [(directories.first, False)], set[int]()
    while waiting and len(seen) < MOST:
        place, child = waiting.pop(0)
        if place in seen or not place:
            continue
        seen.add(place)
        try:
            directory = directories.read(place)
        except ValueError:
            continue
        waiting += [(directory.following, child), *((inner, True) for inner in directory.all(_CHILDREN))]
        if directory.all(_WIDTH) and directory.all(_HEIGHT):
            found.append(_picture(directory, child))
    return found


def _picture(directory: Directory, child: bool) -> Picture:
    old_reduced = directory.first(_OLD_SUBFILE) == 2  # 1: full, 2: reduced, 3: one page of several
    return Picture(
        width=directory.first(_WIDTH),
        height=directory.first(_HEIGHT),
        kind=directory.first(_SUBFILE, REDUCED * old_reduced),
        photometric=directory.first(_PHOTOMETRIC, -1),
        extra=directory.all(_EXTRA),
        child=child,
    )

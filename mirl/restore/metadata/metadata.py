"""Metadata of a photograph in no format's terms."""

from dataclasses import dataclass, replace

from mirl.restore.metadata import exif


@dataclass(frozen=True)
class Resolution:
    """Pixels per mm across and down; if it is not `absolute`, only their relation means anything."""

    x: float
    y: float
    absolute: bool = True


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What stands beside the pixels; what is empty or None stands in no file that is written."""

    icc: bytes = b""
    """Colour profile."""
    exif: bytes = b""
    """EXIF, from its byte order on."""
    xmp: bytes = b""
    orientation: int = 1
    """How the pixels lie, 1 to 8: 1 is upright."""
    resolution: Resolution | None = None
    own: tuple[tuple[int | bytes, bytes], ...] = ()
    """Pieces, each with its kind, that only the format of the file can hold."""
    own_format: str = ""
    """Format that `own` is of."""

    def of(self, format: str) -> tuple[tuple[int | bytes, bytes], ...]:
        """Return the pieces that only `format` can hold."""
        return self.own if format == self.own_format else ()

    def upright(self) -> "Metadata":
        """Return the metadata of the photograph once its pixels were turned upright."""
        was, resolution = self.orientation, self.resolution
        if resolution and was in exif.TURNED:
            resolution = replace(resolution, x=resolution.y, y=resolution.x)
        return replace(
            self,
            exif=exif.upright_exif(self.exif, was),
            xmp=exif.upright_xmp(self.xmp),
            orientation=exif.UPRIGHT,
            resolution=resolution,
        )

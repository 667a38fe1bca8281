import io
import struct

import numpy as np
import pytest
import tifffile

from mirl.errors import UserError
from mirl.pictures.tiff import pictures, refuse_others
from tests.pictures.made import LARGE, PREVIEWS, SMALL, WITH_COPIES, tiff

WORDS = {
    "a camera's raw file": "is a camera's raw file .a colour filter array.*develop it",
    "a raw file alone": "is a camera's raw file",
    "a preview before its picture": "begins with a preview of 24 x 16 pixels, and its picture has 96 x 64; save that",
    "a preview that is called none": "begins with a preview of 24 x 16",
    "a preview on a page of its own": "begins with a preview of 24 x 16",
    "a preview alone": "holds a preview of 24 x 16 pixels alone; get the picture itself",
    "two pages": "holds 2 pages",
    "a smaller page that is no copy": "holds 2 pages",
    "a mask": "holds 2 pages",
}


@pytest.mark.parametrize("name", PREVIEWS)
def test_a_file_that_is_about_another_picture_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^scan.tif {WORDS[name]}"):
        refuse_others(PREVIEWS[name], "scan.tif")


@pytest.mark.parametrize("name", WITH_COPIES)
def test_smaller_copies_may_follow(name: str) -> None:
    assert len(pictures(WITH_COPIES[name])) > 1
    refuse_others(WITH_COPIES[name], "x")


@pytest.mark.parametrize(
    "options", [{"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}]
)
def test_every_kind_of_tiff_is_followed(options: dict) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:
        writer.write(SMALL, photometric="rgb", subfiletype=1, subifds=1)
        writer.write(LARGE, photometric="rgb")
    found = pictures(file.getvalue())
    assert [(one.width, one.height, one.kind, one.child) for one in found] == [
        (24, 16, 1, False),
        (96, 64, 0, True),
    ]


@pytest.mark.parametrize(("channels", "photometric"), [(4, "rgb"), (2, "minisblack")])
def test_a_channel_that_is_no_alpha_is_refused(channels: int, photometric: str) -> None:
    samples = np.zeros((8, 9, channels), np.uint8)
    given = {"photometric": photometric, "planarconfig": "contig"}
    refuse_others(tiff((samples, given | {"extrasamples": ["unassalpha"]})), "x")
    with pytest.raises(
        UserError, match="a channel beside its colours that is no alpha; .* without that channel"
    ):
        refuse_others(tiff((samples, given | {"extrasamples": ["unspecified"]})), "x")


def test_directories_that_lead_in_circles_or_nowhere_end() -> None:
    data = bytearray(tiff((LARGE, {})))
    first = struct.unpack_from("<I", data, 4)[0]
    end = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    for following in (first, 2**32 - 1, len(data) - 1, 3):
        struct.pack_into("<I", data, end, following)
        assert pictures(bytes(data))[0].width == 96
    for rubbish in (b"", b"II*\0", b"MM\0*" + b"\xff" * 40, b"II+\0" + b"\xff" * 40):
        assert pictures(rubbish) == []
        refuse_others(rubbish, "x")

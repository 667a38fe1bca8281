"""No picture is restored in place of another one, and no part of one for a whole."""

import numpy as np
import pytest

from mirl.config import UserError
from mirl.restore.codec import decode, encode
from tests.pictures.made import LARGE, PREVIEWS, WITH_COPIES, saved, scene, tiff, zeros


@pytest.mark.parametrize("name", PREVIEWS)
def test_a_preview_is_no_photograph(name: str) -> None:
    with pytest.raises(UserError, match="^photo.nef "):
        decode(PREVIEWS[name], "photo.nef")


def test_a_raw_file_is_called_one() -> None:
    for name in ("a camera's raw file", "a raw file alone"):
        with pytest.raises(UserError, match="^photo.nef is a camera's raw file .*; develop it"):
            decode(PREVIEWS[name], "photo.nef")


@pytest.mark.parametrize("name", WITH_COPIES)
def test_of_several_sizes_the_full_one_is_restored(name: str) -> None:
    photograph = decode(WITH_COPIES[name], "x")
    assert np.array_equal(photograph.rgb_HWC, LARGE)
    assert np.array_equal(decode(encode(photograph, "TIFF", "x"), "x").rgb_HWC, LARGE)


def test_a_channel_that_is_no_alpha_does_not_become_transparency() -> None:
    samples = np.dstack([LARGE, LARGE[..., :1]])
    with pytest.raises(UserError, match="a channel beside its colours that is no alpha"):
        decode(tiff((samples, {"extrasamples": ["unspecified"], "planarconfig": "contig"})), "x")


def test_a_damaged_jpeg_is_refused_and_an_odd_one_is_not() -> None:
    data = saved(scene(200, 260), "JPEG")
    with pytest.raises(UserError, match="x is broken or cut off"):
        decode(zeros(data, len(data) // 2, 100), "x")
    whole = decode(data, "x")
    for odd in (data + b"behind", data[:-2], data[:-2] + bytes(9) + data[-2:]):
        assert np.array_equal(decode(odd, "x").rgb_HWC, whole.rgb_HWC)


def test_a_jpeg_that_claims_too_much_is_refused_before_it_is_read() -> None:
    data = saved(scene(), "JPEG")
    place = data.find(b"\xff\xc0") + 5
    with pytest.raises(UserError, match="65500 x 65500"):
        decode(data[:place] + (65500).to_bytes(2, "big") * 2 + data[place + 4 :], "x")

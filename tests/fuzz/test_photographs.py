"""Photographs as people have them through the codec: 200, or as many as MIRL_FUZZ says."""

import io
import os
import time

import numpy as np
from PIL import Image

from mirl.config import UserError
from mirl.restore.codec import decode, encode
from mirl.restore.metadata import READERS
from tests.fuzz.conftest import MIB, SECONDS
from tests.fuzz.measuring import measured
from tests.fuzz.photographs import THUMBNAIL, Case, photograph

CASES, SEED = int(os.environ.get("MIRL_FUZZ", "200")), 5
TARGETS = sorted(READERS)


def test_each_is_refused_in_a_sentence_or_stays_true() -> None:
    damaged = found = 0
    with measured() as taken:
        for number in range(CASES):
            case, began = photograph(number, SEED), time.monotonic()
            refused = _tried(case, TARGETS[number % len(TARGETS)])
            assert time.monotonic() - began < SECONDS, case.name
            assert case.refused in (None, refused), case.name
            damaged += case.refused is None
            found += case.refused is None and refused
    assert taken.mib < MIB, f"{taken.mib:.0f} MiB"
    assert found > 0.6 * damaged > 0.05 * CASES, f"{found} of {damaged} damaged files were found"


def _tried(case: Case, target: str) -> bool:
    """Whether it was refused; what is written is looked at."""
    try:
        photograph = decode(case.data, "x")
    except UserError as error:
        assert str(error).startswith("x ") and "\n" not in str(error), case.name
        return True
    if case.pixels is not None:
        assert np.array_equal(photograph.rgb_HWC, case.pixels), case.name
    try:
        written = encode(photograph, target, "x")
    except UserError as error:
        assert "transparency" in str(error) or "profile of a grey" in str(error), f"{case.name}: {error}"
        return False
    if (
        target == "TIFF"
        and photograph.grey
        and photograph.alpha_HW is not None
        and photograph.rgb_HWC.dtype == np.uint16
    ):
        return False  # which Pillow does not read
    image = Image.open(io.BytesIO(written))
    assert image.size == photograph.rgb_HWC.shape[1::-1], case.name
    assert image.getexif().get(274, 1) == 1 and THUMBNAIL not in written, case.name
    assert image.info.get("icc_profile", b"") == case.profile, case.name
    assert written.count(b"tiff:Orientation=") == written.count(b'tiff:Orientation="1"'), case.name
    assert (b'xmp:Rating="5"' in written) == ("turned" in case.name), case.name
    return False

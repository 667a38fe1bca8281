import re
from collections.abc import Callable

import pytest
from PIL import Image

from mirl.errors import UserError
from mirl.pictures.jpeg import segments, whole
from tests.pictures.made import DAMAGE, ORDINARY, noise, saved, scene, zeros

SCAN = 0xDA


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    return saved(Image.fromarray(scene(200, 260)).convert(mode), "JPEG", **options)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", ORDINARY)
def test_whole_files_and_harmless_oddities_pass(mode: str, options: dict) -> None:
    data = jpeg(mode, **options)
    assert whole(data, "x") == data
    assert whole(data + b"the second picture of a telephone", "x") == data
    assert whole(data[:-2], "x") == data, "all is there but the end"
    for padding in (bytes(40), b"\xff" * 5):
        assert whole(data[:-2] + padding + data[-2:], "x").startswith(data[:-2])
    unit = data.find(b"JFIF\0") + 7
    if mode != "CMYK":  # which Pillow writes without JFIF
        changed = data[:unit] + b"\x09" + data[unit + 1 :]
        assert whole(changed, "x") == changed


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (8, 8), (17, 9)])
def test_any_size_passes(size: tuple[int, int]) -> None:
    for options in ORDINARY:
        data = saved(scene(*size), "JPEG", **options)
        assert whole(data, "x") == data


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("options", ORDINARY)
def test_most_damage_in_the_middle_is_found(damage: Callable[..., bytes], options: dict) -> None:
    """The rest adds up by chance: as many blocks of possible levels, which no reader can tell from a picture."""
    data, found = jpeg(**options), 0
    for start in range(len(data) // 4, len(data) * 3 // 4, len(data) // 40):
        try:
            whole(damage(data, start, 200), "photo.jpg")
        except UserError as error:
            assert re.fullmatch(r"photo\.jpg is broken or cut off \(.+\); get a whole copy of it", str(error))
            found += 1
    assert found >= (8 if "progressive" in options else 14), "of 20"


def test_damage_that_adds_up_is_known_by_its_levels_or_its_zeros() -> None:
    data = jpeg()
    with pytest.raises(UserError, match="overwritten with zeros"):
        whole(zeros(data, 5000, 40), "x")
    scan = next(start for marker, start, _ in segments(data) if marker == SCAN)
    reasons = set()
    for start in range(scan + 20, len(data) - 100, 40):
        try:
            whole(noise(data, start, 64), "x")
        except UserError as error:
            reasons.add(str(error))
    assert any("parts beyond white or black" in reason for reason in reasons)


@pytest.mark.parametrize("options", ORDINARY)
def test_a_file_that_lacks_a_byte_is_found(options: dict) -> None:
    data = jpeg(**options)
    for missing in range(1, 30):
        with pytest.raises(UserError, match="broken or cut off"):
            whole(data[: -2 - missing], "x")


def test_flat_pictures_of_which_much_is_zeros_pass() -> None:
    for options in ORDINARY:
        data = saved(Image.new("L", (900, 900), 128), "JPEG", **options)
        assert whole(data, "x") == data
    assert bytes(32) in saved(Image.new("L", (900, 900), 128), "JPEG", optimize=True)


def test_a_sequential_scan_with_odd_parameters_passes() -> None:
    data = jpeg()
    start = next(start for marker, start, _ in segments(data) if marker == SCAN)
    end = start + 1 + 2 * data[start]
    odd = data[:end] + b"\0\0\0" + data[end + 3 :]
    assert whole(odd, "x") == odd


def test_segments_end_where_they_cannot_be_followed() -> None:
    assert [marker for marker, _, _ in segments(jpeg())][-2:] == [SCAN, 0xD9]
    for rubbish in (b"", b"\xff", b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8\xff\xe0\0\0" + bytes(9)):
        assert list(segments(rubbish)) == []
    with pytest.raises(UserError, match="broken or cut off"):
        whole(b"\xff\xd8\xff\xe0", "x")

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from mirl.config import UserError
from mirl.restore.codec import DEEP, FORMATS, decode, encode
from mirl.restore.metadata import Metadata
from mirl.restore.photograph import Photograph

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NAMES = sorted(set(FORMATS.values()))


def levels(channels: int, kind: type = np.uint8, height: int = 6, width: int = 9) -> np.ndarray:
    chance = np.random.default_rng(1)
    return chance.integers(0, np.iinfo(kind).max + 1, (height, width, channels), dtype=kind)


def saved(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    """A file that another library wrote."""
    file, image = io.BytesIO(), Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, format, **options)
    return file.getvalue()


def saved_tiff(samples: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_was_lossless_stays_as_it_was(format: str, mode: str) -> None:
    pixels = levels(len(mode))
    if mode[-1] == "A":
        pixels[0, :, -1] = 0  # colours below full transparency are kept as well
    image = Image.fromarray(pixels.squeeze(), mode)
    out = opened(encode(decode(saved(image), "x"), format, "x"))
    assert out.format == format
    if format == "WEBP":  # knows no grey
        image = image.convert("RGBA" if mode[-1] == "A" else "RGB")
    assert out.mode == image.mode and np.array_equal(np.asarray(out), np.asarray(image))


@pytest.mark.parametrize("format", sorted(DEEP))
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_16_bits_stay(format: str, channels: int) -> None:
    pixels = levels(channels, np.uint16)
    photometric = "rgb" if channels > 2 else "minisblack"
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    samples = pixels[..., 0] if channels == 1 else pixels
    photograph = decode(saved_tiff(samples, photometric=photometric, planarconfig="contig", **extra), "x")
    assert photograph.rgb_HWC.dtype == np.uint16
    again = decode(encode(photograph, format, "x"), "x")
    assert np.array_equal(again.samples_HWC(), pixels) and again.grey == (channels < 3)


def test_16_bits_become_the_nearest_8_where_no_more_fit() -> None:
    deep_HWC = np.arange(2**16, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    out = np.asarray(opened(encode(Photograph(rgb_HWC=deep_HWC), "WEBP", "x")))
    assert np.array_equal(out, np.rint(deep_HWC / 257))


def test_a_png_of_fewer_bits_becomes_8() -> None:
    image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
    for format in ("PNG", "TIFF"):
        photograph = decode(saved(image, format), "x")
        assert photograph.rgb_HWC[..., 1].tolist() == [[0, 255, 0]] and photograph.grey
        changed = photograph.with_pixels(np.full((1, 3, 3), 77, np.uint8))
        assert np.asarray(opened(encode(changed, format, "x"))).tolist() == [[77] * 3]


def test_a_palette_becomes_its_colours() -> None:
    image = Image.fromarray(levels(3)).quantize(5)
    out = opened(encode(decode(saved(image), "x"), "PNG", "x"))
    assert out.mode == "RGB" and np.array_equal(np.asarray(out), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_one_colour_that_is_see_through_becomes_alpha(mode: str) -> None:
    image = Image.fromarray(np.array([[0, 7, 7]], np.uint8))
    key = {"L": 7, "RGB": (7, 7, 7), "P": 7}[mode]
    photograph = decode(saved(image.convert(mode), transparency=key), "x")
    assert photograph.alpha_HW is not None and photograph.alpha_HW.tolist() == [[255, 0, 0]]


def test_colours_that_were_multiplied_by_their_alpha_are_divided_again() -> None:
    premultiplied = np.array([[[100, 50, 0, 128]]], np.uint8)
    data = saved_tiff(premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(decode(data, "x").rgb_HWC.astype(int) - [199, 100, 0]).max() <= 1


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_usual_compressions_of_tiff(compression: str) -> None:
    pixels = np.full((40, 30, 3), 90, np.uint8)
    assert np.abs(decode(saved(pixels, "TIFF", compression=compression), "x").rgb_HWC - 90.0).max() <= 1


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"rowsperstrip": 3}, {"bigtiff": True}])
def test_tiles_strips_and_big_tiffs(options: dict[str, Any]) -> None:
    pixels = levels(3, np.uint16, 40, 50)
    assert np.array_equal(decode(saved_tiff(pixels, photometric="rgb", **options), "x").rgb_HWC, pixels)


def test_separate_planes() -> None:
    pixels = levels(3, np.uint16, 40, 50)
    planar = saved_tiff(pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert np.array_equal(decode(planar, "x").rgb_HWC, pixels)


@pytest.mark.parametrize("white", [np.uint8, np.uint16])
def test_white_is_zero(white: type) -> None:
    pixels = levels(1, white)[..., 0]
    found = decode(saved_tiff(pixels, photometric="miniswhite"), "x").rgb_HWC[..., 0]
    assert np.array_equal(found, np.iinfo(white).max - pixels)


def test_grey_is_the_mean_of_what_was_restored() -> None:
    for kind in (np.uint8, np.uint16):
        pixels = np.array([[[90, 100, 110], [10, 11, 11], [np.iinfo(kind).max] * 3]], kind)
        found = Photograph(rgb_HWC=pixels, grey=True).samples_HWC()
        assert found.dtype == kind and found.flatten().tolist() == [100, 11, np.iinfo(kind).max]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "clockwise"), [(1, 0), (3, 2), (6, 1)])
def test_is_turned_upright_once(format: str, orientation: int, clockwise: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    pixels = np.full((60, 90, 3), 20, np.uint8)
    pixels[:30, :30] = 250
    photograph = decode(saved(pixels, format, exif=exif), "x")
    expected = np.rot90(pixels, -clockwise)
    assert photograph.rgb_HWC.shape == expected.shape
    assert np.abs(photograph.rgb_HWC.astype(int) - expected).mean() < 3
    for name in NAMES:
        assert opened(encode(photograph, name, "x")).getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_other_exif_stays(format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "a camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.5
    out = opened(encode(decode(saved(levels(3), "JPEG", exif=exif), "x"), format, "x")).getexif()
    assert out[ExifTags.Base.Model] == "a camera"
    assert out.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.5


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("target", NAMES)
def test_colour_profile_stays(source: str, target: str) -> None:
    photograph = decode(saved(levels(3), source, icc_profile=SRGB), "x")
    assert photograph.format == source
    assert opened(encode(photograph, target, "x")).info["icc_profile"] == SRGB


def test_resolution_stays() -> None:
    for format in ("PNG", "JPEG", "TIFF"):
        data = saved(levels(3), format, dpi=(300, 300))
        assert opened(encode(decode(data, "x"), "JPEG", "x")).info["dpi"] == pytest.approx(
            (300, 300), abs=0.5
        )


def test_of_a_telephones_two_pictures_in_one_jpg_the_first_is_read() -> None:
    first, second = Image.new("RGB", (8, 6), "white"), Image.new("RGB", (4, 3))
    data = saved(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(decode(data, "x").rgb_HWC, np.asarray(first))


def refused() -> dict[str, bytes]:
    image = Image.fromarray(levels(3))
    more = {"save_all": True, "append_images": [image.rotate(180)]}
    return {
        "is CMYK": saved(image.convert("CMYK"), "JPEG"),
        "is CMYK of 4": saved(image.convert("CMYK"), "TIFF"),
        "2 moving frames": saved(image, "WEBP", **more),
        "moving frames; only": saved(image, "PNG", **more),
        "2 pages": saved(image, "TIFF", **more),
        "floating point levels": saved_tiff(np.zeros((4, 4), np.float32)),
        "uint levels": saved_tiff(np.zeros((4, 4), np.uint32)),
        "is empty": b"",
        "is not an image that can be read; PNG, JPEG": b"not a picture",
        "is not an image": saved(image, "GIF"),
        "broken or cut off": b"\x89PNG\r\n\x1a\n",
    }


@pytest.mark.parametrize("words", refused())
def test_what_cannot_be_restored_is_refused_in_one_sentence(words: str) -> None:
    with pytest.raises(UserError, match=f"^scan 1.tif .*{words}") as caught:
        decode(refused()[words], "scan 1.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", NAMES)
def test_a_file_that_is_cut_off_is_refused(format: str) -> None:
    data = saved(levels(3, height=80, width=90), format)
    for length in (len(data) // 2, 30):
        with pytest.raises(UserError, match="x is broken or cut off"):
            decode(data[:length], "x")


def test_a_bomb_is_known_by_its_head() -> None:
    data = saved(Image.new("1", (20_000, 20_000)))
    assert len(data) < 100_000
    with pytest.raises(
        UserError, match=r"20000 x 20000 = 400.0 megapixels, .* 2.98 GiB; .* than 1.00 GiB .*--memory"
    ):
        decode(data, "x")


@pytest.mark.parametrize(
    ("format", "photograph", "words"),
    [
        ("JPEG", Photograph(rgb_HWC=levels(3), alpha_HW=levels(1)[..., 0]), "cannot hold transparency"),
        ("WEBP", Photograph(rgb_HWC=np.zeros((1, 17_000, 3), np.uint8)), "cannot be written as WEBP"),
        (
            "WEBP",
            Photograph(rgb_HWC=levels(3), grey=True, metadata=Metadata(icc=b"x")),
            "the profile of a grey",
        ),
    ],
)
def test_what_a_format_cannot_hold(format: str, photograph: Photograph, words: str) -> None:
    with pytest.raises(UserError, match=words):
        encode(photograph, format, "x")

"""images.decode: what each kind of file becomes, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from prodcat.errors import ImageError
from prodcat.images import FORMATS, REASONS, ImageLimits, decode

LIMITS = ImageLimits()
WIDTH, HEIGHT = 48, 64
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def half_red() -> Image.Image:
    """Left half opaque red, right half fully transparent (and blue underneath, which must not show)."""
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (8, 0, 16, 16))
    return image


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and carries no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def refused(data: bytes, limits: ImageLimits = LIMITS) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data, limits)
    assert caught.value.reason in REASONS
    assert str(caught.value).startswith(f"{caught.value.reason}: ")
    return caught.value


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str) -> None:
    image = decode(encode(PHOTO, kind), LIMITS)
    assert (image.mode, image.size) == ("RGB", (WIDTH, HEIGHT))
    if kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(np.asarray(image), np.asarray(PHOTO))


def test_a_phones_mpo_is_read_as_its_first_picture() -> None:
    data = encode(PHOTO, "MPO", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))], quality=95)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert abs(np.asarray(decode(data, LIMITS), dtype=int).mean() - np.asarray(PHOTO, dtype=int).mean()) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste("black", (0, 0, 8, 8))  # a mark at the top left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the transposition that makes a camera's raw picture of the upright one
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    image = decode(encode(stored, kind, exif=exif, **options), LIMITS)
    assert image.size == (32, 16)
    assert image.getpixel((3, 3))[0] < 40
    assert all(image.getpixel(corner)[0] > 215 for corner in [(28, 3), (3, 13), (28, 13)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*garbage, not a directory", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\0\0", b"no TIFF header at all"])
def test_a_damaged_exif_block_costs_no_image_and_warns_nobody(kind: str, exif: bytes) -> None:
    assert decode(encode(PHOTO, kind, exif=exif), LIMITS).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_white(kind: str) -> None:
    image = decode(encode(half_red(), kind, **({"lossless": True} if kind == "WEBP" else {})), LIMITS)
    assert image.getpixel((2, 8)) == (255, 0, 0)
    assert image.getpixel((13, 8)) == (255, 255, 255)


def test_half_transparent_is_half_white() -> None:
    assert decode(encode(Image.new("RGBA", (16, 16), (0, 0, 0, 128)), "PNG"), LIMITS).getpixel((5, 5)) == pytest.approx((127, 127, 127), abs=1)


def test_greyscale_with_alpha() -> None:
    image = Image.new("LA", (16, 16), (100, 255))
    image.paste((100, 0), (8, 0, 16, 16))
    decoded = decode(encode(image, "PNG"), LIMITS)
    assert (decoded.getpixel((2, 2)), decoded.getpixel((12, 2))) == ((100,) * 3, (255,) * 3)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_colour(kind: str) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([10, 200, 10, 0, 0, 0])
    image.paste(1, (8, 0, 16, 16))
    decoded = decode(encode(image, kind, transparency=1), LIMITS)
    assert (decoded.getpixel((2, 2)), decoded.getpixel((12, 2))) == ((10, 200, 10), (255,) * 3)


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (7, 8, 9)), ("L", 7)])
def test_one_colour_named_transparent(mode: str, colour: int | tuple[int, int, int]) -> None:
    assert decode(encode(Image.new(mode, (16, 16), colour), "PNG", transparency=colour), LIMITS).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **({"lossless": True} if kind == "WEBP" else {}))
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert decode(data, LIMITS).getpixel((8, 8)) == (255, 0, 0)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.full((16, 16), 32768, dtype=np.uint16)
    grey[0, 0], grey[0, 1] = 65535, 0
    image = decode(encode(Image.fromarray(grey), "PNG"), LIMITS)
    assert image.getpixel((8, 8)) == pytest.approx((127, 127, 127), abs=1)
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == ((255,) * 3, (0,) * 3)
    nearly_black = Image.fromarray(np.full((16, 16), 200, dtype=np.uint16))
    assert decode(encode(nearly_black, "PNG"), LIMITS).getpixel((8, 8)) == (0, 0, 0)


def test_one_bit_and_float() -> None:
    assert decode(encode(Image.new("1", (16, 16), 1), "PNG"), LIMITS).getpixel((8, 8)) == (255, 255, 255)
    with_gaps = np.full((16, 16), 100, dtype=np.float32)
    with_gaps[0, 0] = np.nan
    image = decode(encode(Image.fromarray(with_gaps), "TIFF"), LIMITS)
    assert (image.getpixel((8, 8)), image.getpixel((0, 0))) == ((100,) * 3, (0,) * 3)


def test_cmyk_jpeg() -> None:
    image = decode(encode(Image.new("CMYK", (16, 16), (255, 0, 255, 0)), "JPEG"), LIMITS)
    red, green, blue = image.getpixel((8, 8))
    assert image.mode == "RGB"
    assert green > 200
    assert max(red, blue) < 60


def test_a_large_jpeg_is_decoded_small_and_a_png_is_not() -> None:
    photo = Image.new("RGB", (1600, 1200), "teal")
    small = decode(encode(photo, "JPEG"), LIMITS, at_least=224)
    assert 224 <= min(small.size) < 448
    assert decode(encode(photo, "JPEG"), LIMITS).size == (1600, 1200)
    assert decode(encode(photo, "PNG"), LIMITS, at_least=224).size == (1600, 1200)


def test_no_bytes() -> None:
    assert refused(b"").reason == "image_empty"


def test_too_many_bytes_are_refused_unread() -> None:
    error = refused(b"\0" * 1001, ImageLimits(max_bytes=1000))
    assert (error.reason, "1001 bytes, allowed are 1000" in error.detail) == ("image_too_many_bytes", True)


@pytest.mark.parametrize(
    "data", [b"no image, but text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff"]
)
def test_what_is_no_image(data: bytes) -> None:
    assert refused(data).reason == "image_not_an_image"


def test_formats_that_run_programs_or_hold_vectors_are_not_read() -> None:
    assert refused(encode(PHOTO, "EPS")).reason == "image_not_an_image"
    assert refused(encode(PHOTO, "ICO")).reason == "image_not_an_image"


@pytest.mark.parametrize(("width", "height"), [(10_000, 6_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header_before_pixels_are_unpacked(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpacked(*_: object) -> None:
        raise AssertionError("pixels were unpacked")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", unpacked)
    error = refused(png_header(width, height) + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    assert error.reason == "image_too_many_pixels"
    assert "50000000" in error.detail


def test_too_small_to_see_anything() -> None:
    assert refused(encode(PHOTO.resize((7, 100)), "PNG")).reason == "image_too_small"
    assert decode(encode(PHOTO.resize((8, 100)), "PNG"), LIMITS).size == (8, 100)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_ends_early_is_refused_not_half_grey(kind: str) -> None:
    data = encode(PHOTO, kind)
    # Where TIFF keeps its directory at the end, less than all of it is not even a header.
    assert refused(data[: len(data) * 2 // 3]).reason in ("image_truncated", "image_not_an_image")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncation_has_its_own_reason(kind: str) -> None:
    data = encode(PHOTO, kind)
    error = refused(data[: len(data) * 2 // 3])
    assert error.reason == "image_truncated"
    assert f"{WIDTH}x{HEIGHT} {kind}" in error.detail


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_give_an_image_or_a_reason_never_another_error(kind: str) -> None:
    good = encode(PHOTO, kind)
    random = np.random.default_rng(FORMATS.index(kind))
    limits = ImageLimits(max_pixels=1_000_000)
    for _ in range(150):
        data = bytearray(good)
        for at in random.integers(0, min(len(data), 200), size=4):
            data[at] = random.choice([0, 255, random.integers(256)])
        try:
            image = decode(bytes(data), limits)
        except ImageError:
            continue
        assert image.mode == "RGB"

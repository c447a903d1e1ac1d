"""Bytes to RGB, within limits. Knows nothing of models: what a model wants of an image is encoders/inputs.py.

Defined here, once, for ingestion, embedding and HTTP: which formats, how large, which way up, what a transparent pixel is (white, as product
pages show it), which frame of an animation (the first), and that a file that ends early is refused, not shown half grey.
"""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from prodcat.errors import ImageError

# Pillow reads MPO (what phones write for depth) through its JPEG reader and knows no reader of that name.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
REASONS = ("image_empty", "image_too_many_bytes", "image_not_an_image", "image_too_many_pixels", "image_too_small", "image_truncated")


class ImageLimits(BaseModel):
    """What an image may cost. The defaults take every photo a phone makes today and refuse bombs before they are unpacked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(20_000_000, gt=0, description="largest encoded size")
    max_pixels: int = Field(50_000_000, gt=0, description="largest width x height, checked before decoding")
    min_side: int = Field(8, gt=0, description="smallest width and height, in pixels; below it there is nothing to see")


def decode(data: bytes, limits: ImageLimits, *, at_least: int | None = None) -> Image.Image:
    """Encoded bytes -> an upright, opaque RGB image.

    Args:
        data: the file's bytes.
        limits: what it may cost; checked on the header, before pixels are unpacked.
        at_least: a JPEG may be decoded at a fraction of its size as long as both sides stay at least this long (pixels). Much faster for photos
            that a model sees at 224 pixels.

    Returns:
        PIL image in mode RGB: first frame, EXIF orientation applied, transparency laid on white.

    Raises:
        ImageError: with one of REASONS.
    """
    if not data:
        raise ImageError("image_empty", "the image has no bytes")
    if len(data) > limits.max_bytes:
        raise ImageError("image_too_many_bytes", f"{len(data)} bytes, allowed are {limits.max_bytes}; send a smaller version")
    try:
        with warnings.catch_warnings():
            # Pillow warns of bombs by its own limit (ours is checked below, on the same header) and of every damaged EXIF entry it passes over.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError("image_too_many_pixels", f"{error}; allowed are {limits.max_pixels}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError) as error:
        raise ImageError("image_not_an_image", f"starts with {data[:8]!r}; allowed are {', '.join(FORMATS)}") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError("image_too_many_pixels", f"{width}x{height} pixels, allowed are {limits.max_pixels}; send a smaller version")
    if min(width, height) < limits.min_side:
        raise ImageError("image_too_small", f"{width}x{height} pixels, at least {limits.min_side} a side are needed")
    try:
        if at_least is not None and image.format == "JPEG":
            image.draft("RGB", (at_least, at_least))
        image.load()
        return _opaque(_upright(image))
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to (struct.error, zlib.error, KeyError, ...)
        raise ImageError("image_truncated", f"the header says {width}x{height} {image.format}, but the pixels cannot be read: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - Pillow raises SyntaxError, struct.error and others; pixels whose EXIF cannot be read are shown as stored
        return image


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Greyscale of more than 8 bits: Pillow's own conversion clips instead of scaling. 16 bits have a defined white; for 32 bits it is guessed.
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        scale = 257.0 if image.mode.startswith("I;16") or values.max() > 255 else 1.0
        return Image.fromarray(np.clip(values / scale, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")

"""From the image cell of a feed to checked bytes: finds the bytes (in the cell, in a file beside the feed, in base64), checks them, keeps them small.

Nothing is fetched from the network, and no file outside the feed's folder is opened.
"""

import base64
import binascii
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field

from prodcat.catalog.duplicates import image_hash, small_copy, thumbnail
from prodcat.catalog.mapping import ImageForm
from prodcat.config import Config
from prodcat.errors import ImageError
from prodcat.images import ImageLimits, decode
from prodcat.location import Location

# Beside images.REASONS, what may be wrong before there are any bytes.
REASONS = ("image_not_found", "image_outside_feed", "image_url_not_fetched", "image_not_base64", "image_not_readable")

_DATA_URI = re.compile(r"^data:[\w/+.-]*;base64,", re.IGNORECASE)
_URL = re.compile(r"^(https?:)?//", re.IGNORECASE)
_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|jfif|mpo)$", re.IGNORECASE)
# The longest file name that common file systems take: what is longer and has no suffix can only be base64.
_LONGEST_NAME = 255


class PictureConfig(Config):
    """What is kept of images."""

    limits: ImageLimits = Field(ImageLimits(), description="what an image may cost")
    max_stored_side: int = Field(
        512, ge=32, description="longest side kept, pixels; larger images are re-encoded as JPEG, so that catalogs stay small"
    )
    jpeg_quality: int = Field(90, ge=1, le=95, description="of re-encoded images")


@dataclass(frozen=True, slots=True)
class Picture:
    """Checked image bytes, their perceptual hash (None if the image is flat) and their thumbnail, both for near-duplicates."""

    data: bytes
    hash: int | None
    thumbnail: bytes


def load_picture(cell: Any, form: ImageForm, folder: Location, config: PictureConfig) -> Picture | None:
    """The image of one row; None if the cell is empty.

    Args:
        cell: bytes, text, or {"bytes": ..., "path": ...} as Hugging Face data sets write them.
        form: how text is to be understood.
        folder: the feed's; relative paths start here.
        config: limits and stored size.

    Raises:
        ImageError: with one of REASONS or images.REASONS.
    """
    data = _bytes_of(cell, form, folder, config.limits.max_bytes)
    if data is None:
        return None
    # One pixel more than is kept: a JPEG that was decoded at a fraction of its size then still shows that it is too large.
    image = decode(data, config.limits, at_least=config.max_stored_side + 1)
    if max(image.size) > config.max_stored_side:
        image.thumbnail((config.max_stored_side, config.max_stored_side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=config.jpeg_quality)
        data = buffer.getvalue()
    small = small_copy(image)
    return Picture(data, image_hash(small), thumbnail(small))


def _bytes_of(cell: Any, form: ImageForm, folder: Location, max_bytes: int) -> bytes | None:
    if isinstance(cell, dict):
        cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
    if isinstance(cell, memoryview | bytearray):
        cell = bytes(cell)
    if cell is None or isinstance(cell, bytes):
        return cell
    if not isinstance(cell, str):
        raise ImageError("image_not_readable", f"the image column holds a {type(cell).__name__}; expected bytes, a path, or base64 text")
    text = cell.strip()
    if not text:
        return None
    if form == "bytes":
        raise ImageError("image_not_readable", "the mapping says image_is: bytes, the column holds text")
    if form == "auto":
        form = _form_of(text)
    return _from_base64(text, max_bytes) if form == "base64" else _from_file(text, folder, max_bytes)


def _form_of(text: str) -> ImageForm:
    if _DATA_URI.match(text):
        return "base64"
    if _IMAGE_SUFFIX.search(text) or len(text) <= _LONGEST_NAME or _URL.match(text):
        return "path"
    return "base64"


def _from_base64(text: str, max_bytes: int) -> bytes:
    text = _DATA_URI.sub("", text, count=1)
    if len(text) * 3 // 4 > max_bytes:
        raise ImageError("image_too_many_bytes", f"about {len(text) * 3 // 4} bytes as base64, allowed are {max_bytes}; send a smaller version")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError("image_not_base64", f"{error}; starts with {text[:24]!r}") from error


def _from_file(text: str, folder: Location, max_bytes: int) -> bytes:
    if _URL.match(text):
        raise ImageError(
            "image_url_not_fetched", f"{text[:200]!r} is an address; prodcat fetches none: save the images beside the feed and give their paths"
        )
    relative = text.replace("\\", "/")
    if relative.startswith("/") or ".." in relative.split("/") or ":" in relative.split("/")[0] or "\0" in relative:
        raise ImageError("image_outside_feed", f"{text[:200]!r}: image paths are relative to the feed's folder and stay inside it")
    location = folder.child(relative)
    if folder.is_local and not _inside(location.path, folder.path):
        raise ImageError("image_outside_feed", f"{text[:200]!r} is a link that leaves the feed's folder")
    info = location.filesystem.get_file_info(location.path)
    if not info.is_file:
        raise ImageError("image_not_found", f"{text[:200]!r} is no file in the feed's folder {folder.source}")
    if info.size > max_bytes:
        raise ImageError("image_too_many_bytes", f"{text[:200]!r} has {info.size} bytes, allowed are {max_bytes}; give a smaller version")
    try:
        with location.filesystem.open_input_stream(location.path, compression=None) as stream:
            return bytes(stream.read())
    except OSError as error:
        raise ImageError("image_not_readable", f"{text[:200]!r}: {error}") from error


def _inside(path: str, folder: str) -> bool:
    return Path(path).resolve().is_relative_to(Path(folder).resolve())

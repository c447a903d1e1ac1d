"""Training products a second time, as another shop might show them: other texts, other photos.

Titles lose the brand or the words of their category, are cut, written in capitals, or say things in commoner words; photos are cropped, mirrored, lit
otherwise, or stand before another background. What is changed is drawn for each product by its key and the seed. Knows no Ray.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance, ImageOps
from pydantic import Field

from prodcat.catalog.records import digest_of
from prodcat.config import Config
from prodcat.contracts import PRODUCTS, Product, rows_to_table
from prodcat.encoders.inputs import TextReading
from prodcat.errors import ImageError
from prodcat.images import ImageLimits, decode
from prodcat.labelled import Labelled, texts_of
from prodcat.masking import CategoryMask, normalise
from prodcat.synonyms import Synonyms
from prodcat.taxonomy import Taxonomy

_WORD = re.compile(r"\S+")
# Darker is no background of a product photo.
_LIGHT = 238


class TextAugmentation(Config):
    """Each is done to so large a share of the titles and descriptions, independently of the others; where nothing is to be done nothing is."""

    brand: float = Field(0.5, ge=0, le=1, description="the brand is dropped, where the feed names it")
    category: float = Field(0.2, ge=0, le=1, description="the words of the categories' names are dropped (masking.py)")
    cut: float = Field(0.3, ge=0, le=1, description="words at one end are dropped, up to half of them")
    case: float = Field(0.2, ge=0, le=1, description="in capitals, or in small letters")
    phrasing: float = Field(0.3, ge=0, le=1, description="the commoner words of other shops in the place of those that synonyms.csv knows")


class ImageAugmentation(Config):
    """The same for photos."""

    crop: float = Field(0.5, ge=0, le=1, description="cut to a part")
    smallest_crop: float = Field(0.6, gt=0, le=1, description="share of the area that such a part has, at least")
    mirror: float = Field(0.5, ge=0, le=1, description="left and right exchanged")
    light: float = Field(0.5, ge=0, le=1, description="brightness, contrast and colour multiplied by 0.7 to 1.3 each")
    background: float = Field(0.3, ge=0, le=1, description="a background that is nearly white gets another colour")


class AugmentationConfig(Config):
    """What is changed of the training products that stage two's fusion learns from once more."""

    text: TextAugmentation | None = TextAugmentation()
    image: ImageAugmentation | None = ImageAugmentation()
    seed: int = 0


class TextChange:
    """Changes texts by a TextAugmentation."""

    def __init__(self, config: TextAugmentation, tree: Taxonomy) -> None:
        self._config, self._mask = config, CategoryMask(tree)

    def __call__(self, text: str, brand: str | None, draws: np.random.Generator) -> str:
        """The text as another shop might write it; never empty where the text is not."""
        config = self._config
        # Drawn first and always, so that one share does not move what the others do.
        brand_out, category_out, cut, case, phrase, end, left, upper = draws.random(8).tolist()
        found = text
        if brand and brand_out < config.brand:
            found = _without(found, brand)
        if phrase < config.phrasing:
            found = Synonyms.shipped().replaced(found)
        if category_out < config.category:
            found = self._mask(found) or found
        if cut < config.cut:
            words = _WORD.findall(found)
            keep = max(1, round(len(words) * (1 - left / 2)))
            found = " ".join(words[:keep] if end < 0.5 else words[-keep:])
        if case < config.case:
            found = found.upper() if upper < 0.5 else found.lower()
        return found if found.strip() else text


class ImageChange:
    """Changes photos by an ImageAugmentation."""

    def __init__(self, config: ImageAugmentation) -> None:
        self._config = config

    def __call__(self, image: Image.Image, draws: np.random.Generator) -> Image.Image:
        """RGB -> RGB; a crop is smaller."""
        config = self._config
        crop, mirror, light, background, area, x, y = draws.random(7).tolist()
        factors, colour = draws.uniform(0.7, 1.3, 3).tolist(), draws.integers(60, 240, 3)
        if background < config.background:
            pixels = np.asarray(image).copy()
            pixels[(pixels >= _LIGHT).all(axis=-1)] = colour
            image = Image.fromarray(pixels)
        if crop < config.crop:
            side = (config.smallest_crop + (1 - config.smallest_crop) * area) ** 0.5
            width, height = max(1, round(image.width * side)), max(1, round(image.height * side))
            start, top = round((image.width - width) * x), round((image.height - height) * y)
            image = image.crop((start, top, start + width, top + height))
        if mirror < config.mirror:
            image = ImageOps.mirror(image)
        if light < config.light:
            for enhance, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True):
                image = enhance(image).enhance(factor)
        return image


def write_augmented(
    files: Sequence[str], train: Labelled, tree: Taxonomy, config: AugmentationConfig, reading: TextReading, limits: ImageLimits, file: Path
) -> Labelled:
    """
    Args:
        files: Parquet files of PRODUCTS.
        reading: what stage one reads.
        file: gets the training products with anything to change, as PRODUCTS under their own keys, changed; a file at a time is held in memory.

    Returns:
        What was written, with its texts.
    """
    wanted = pa.array(train.keys, type=pa.string())
    text = TextChange(config.text, tree) if config.text is not None else None
    image = ImageChange(config.image) if config.image is not None else None
    written: list[str] = []
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with pq.ParquetWriter(part, PRODUCTS) as writer:
        for source in files:
            table = pq.read_table(source, partitioning=None).cast(PRODUCTS)
            rows = []
            for row in table.filter(pc.is_in(table["key"], value_set=wanted)).to_pylist():
                draws = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{config.seed} {row['key']}".encode()).digest()[:8], "big"))
                shown = dict(row)
                for name in ("title", "description"):
                    if text is not None and row[name]:
                        shown[name] = text(row[name], row["brand"], draws)
                shown["image"] = _changed(row["image"], image, limits, draws)
                if (text is not None and row["title"]) or shown["image"]:
                    product = Product(
                        row["platform"],
                        row["product_id"],
                        title=shown["title"],
                        description=shown["description"],
                        brand=row["brand"],
                        image=shown["image"],
                        language=row["language"],
                    )
                    rows.append({**shown, "image_problem": None, "title_key": None, "image_hash": None, "digest": digest_of(product)})
            if rows:
                writer.write_table(rows_to_table(rows, PRODUCTS), row_group_size=256)
                written += [row["key"] for row in rows]
    part.replace(file)
    place = {key: row for row, key in enumerate(train.keys)}
    return replace(train, keys=written, texts=texts_of([str(file)], written, reading), targets=train.targets[[place[key] for key in written]])


def _changed(image: bytes | None, change: ImageChange | None, limits: ImageLimits, draws: np.random.Generator) -> bytes | None:
    if image is None or change is None:
        return None
    try:
        read = decode(image, limits)
    except ImageError:
        # What is refused now was refused before: the product is learned from by its text.
        return None
    buffer = io.BytesIO()
    change(read, draws).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def _without(text: str, brand: str) -> str:
    """The text without the words of the brand, where they stand one after the other."""
    words, wanted = _WORD.findall(text), [normalise(word) for word in _WORD.findall(brand)]
    for start in range(len(words) - len(wanted) + 1):
        if [normalise(word) for word in words[start : start + len(wanted)]] == wanted:
            return " ".join([*words[:start], *words[start + len(wanted) :]])
    return text

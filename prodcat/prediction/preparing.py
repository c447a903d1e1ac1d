"""What stage two's model reads of a product, made on CPUs and without the model: token ids, uint8 pixels, and stage one's vector of the title.

Imports no torch: the text replica decodes and resizes the images of what it is unsure of, and what travels to the GPU is small, of one size, and
needs no more work there than a normalisation.

Shapes: n products, m of them with a modality, T tokens, S pixels a side, W width of stage one's vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, hstack

from prodcat.config import Config, read_yaml
from prodcat.contracts import UNNAMED, Product
from prodcat.encoders.inputs import ImageInput, Manifest, TextReading, Tokens
from prodcat.errors import BundleError, ImageError
from prodcat.images import ImageLimits, decode
from prodcat.model.correction import Correction
from prodcat.model.words import Words
from prodcat.prediction.text_stage import TextStage, text_stage_fingerprint
from prodcat.taxonomy import HeadLayout

SETTINGS = "multimodal_stage.yaml"
# The modality that is stage one's own vector and no encoder of its own.
STAGE_ONE_VECTOR = "stage_one"
# The input that is the log probabilities of the model of words, made here as well: they are small, and the words need no device.
WORDS = "words"
# The files of corrections begin so.
CORRECTION = "correction_"

T = TypeVar("T")
ImageProblem = tuple[str, str]
"""Reason (images.REASONS) and detail."""


class ModalitySettings(Config):
    """Which tower of which encoder feeds a modality of the fusion."""

    name: str
    encoder: str
    tower: str
    dim: int


class InputSettings(Config):
    """What a bundle's stage two reads."""

    modalities: tuple[ModalitySettings, ...]
    image_limits: ImageLimits = ImageLimits()
    words: TextReading | None = Field(None, description="what the model of words reads; null: the bundle has none")
    descriptions: bool = False
    known: tuple[str, ...] = Field((), description="the platforms that were trained on")
    made_here: tuple[str, ...] = Field((), description="modalities that are not read of products that name another platform")
    corrections: tuple[str, ...] = Field((), description="platforms whose answers are corrected, in the order of their files (correction_file)")


@dataclass(frozen=True)
class Prepared:
    """What the model reads of n products: per modality the rows that have it and their inputs.

    Args:
        inputs: modality -> rows int64 [m] and their token ids int32 [m, T], pixels uint8 [m, S, S, 3], or vectors of stage one float32 [m, W].
            Modalities that read the same pixels share one array, so that they travel once. Under WORDS, log probabilities float32 [m, C].
        image_problems: n entries.
        corrected: the rows, int64 [k], of platforms with a correction, which one each has, int64 [k], and the words' part of it, float32 [k, C].
        described: the rows, int64 [k], that are read a second time, and their texts, of which a description is in the place of the title.
    """

    size: int
    inputs: dict[str, tuple[np.ndarray, np.ndarray]]
    image_problems: tuple[ImageProblem | None, ...]
    described: "tuple[np.ndarray, Prepared] | None" = None
    corrected: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @property
    def readable(self) -> np.ndarray:
        """bool [n]: products of which there is anything to read."""
        found = np.zeros(self.size, dtype=bool)
        for rows, _ in self.inputs.values():
            found[rows] = True
        return found


class Preparation:
    """A bundle's inputs of stage two.

    Args:
        folder: the bundle's.
        layout: the columns of its logits.

    Raises:
        BundleError: a modality names a tower that its encoder does not have.
    """

    def __init__(self, folder: Path, layout: HeadLayout) -> None:
        place = folder / "stage_two" / SETTINGS
        self._layout = layout
        document = read_yaml(place)
        # The file holds the fusion's settings too, whose class needs torch.
        self.settings = InputSettings.model_validate({name: document[name] for name in InputSettings.model_fields if name in document})
        self._folder = folder
        self._texts: dict[str, Tokens] = {}
        self._images: dict[str, ImageInput] = {}
        for modality in self.settings.modalities:
            if modality.name == STAGE_ONE_VECTOR:
                continue
            encoder = folder / "encoders" / modality.encoder
            manifest = Manifest.load(encoder)
            if modality.tower == "text" and manifest.text is not None:
                self._texts[modality.name] = Tokens(manifest.text, encoder)
            elif modality.tower == "image" and manifest.image is not None:
                self._images[modality.name] = manifest.image
            else:
                raise BundleError(
                    f"{place}: modality {modality.name} reads the {modality.tower} tower of {encoder}, which has none; rebuild the bundle"
                )

    @cached_property
    def words(self) -> Words:
        """The model of words; only where settings.words is given."""
        return Words.load(self._folder / "stage_two")

    @cached_property
    def corrections(self) -> list[Correction]:
        """In the order of settings.corrections."""
        return [Correction.load(self._folder / "stage_two" / correction_file(code)) for code in range(len(self.settings.corrections))]

    @cached_property
    def stage_one(self) -> TextStage:
        """Loaded only where its vectors are not given."""
        return TextStage(self._folder / "stage_one")

    @property
    def stage_one_fingerprint(self) -> str:
        return text_stage_fingerprint(self._folder / "stage_one")

    @property
    def wants_vectors(self) -> bool:
        """Stage two reads stage one's vector."""
        return any(modality.name == STAGE_ONE_VECTOR for modality in self.settings.modalities)

    def prepare(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> Prepared:
        """
        Args:
            vectors: float32 [n, W], what stage one made of each title on its way here, NaN where there is none; None: made here, if wanted.
        """
        found = self._once(products, vectors)
        return replace(found, described=self._described(products), corrected=self._corrected(products))

    def _once(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> Prepared:
        """Read once, as they are."""
        problems: list[ImageProblem | None] = [
            (p.image_problem, "refused when the product was ingested") if p.image is None and p.image_problem else None for p in products
        ]
        inputs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        pixels: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]] = {}
        images: dict[int, list[Any]] = {}
        strange = np.array([p.platform != UNNAMED and p.platform not in self.settings.known for p in products], dtype=bool)
        for modality in self.settings.modalities:
            name = modality.name
            if name == STAGE_ONE_VECTOR:
                found = self._vectors(products, vectors)
            elif name in self._texts:
                tokens = self._texts[name]
                rows, texts = _some(_texts_of(products, tokens.settings))
                found = rows, tokens.prepare(texts)
            else:
                image = self._images[name]
                same = (image.size, image.resize, image.crop_pct, image.interpolation, image.fill)
                if same not in pixels:
                    # Towers that want the same size of image share its decoding, those that cut it alike its pixels.
                    if image.at_least not in images:
                        images[image.at_least] = [self._image(product, row, problems, image.at_least) for row, product in enumerate(products)]
                    rows, some = _some(images[image.at_least])
                    batch = np.empty((len(some), image.size, image.size, 3), dtype=np.uint8)
                    for place, item in zip(batch, some, strict=True):
                        place[...] = image.prepare(item)
                    pixels[same] = rows, batch
                found = pixels[same]
            if name in self.settings.made_here and strange[found[0]].any():
                keep = ~strange[found[0]]
                found = found[0][keep], found[1][keep]
            if len(found[0]):
                inputs[name] = found
        if self.settings.words is not None:
            rows, texts = _some(_texts_of(products, self.settings.words))
            if texts:
                inputs[WORDS] = rows, self._words_of([products[row] for row in rows.tolist()], texts)
        return Prepared(len(products), inputs, tuple(problems))

    def _words_of(self, products: Sequence[Product], texts: Sequence[str]) -> np.ndarray:
        """float32 [n, C], what the words say, adjusted to the platforms that have a correction."""
        terms = self.words.matrix(texts)
        found = self.words.weigh(terms, self._layout)
        rows, codes = self._codes(products)
        for code in np.unique(codes).tolist():
            adjustment, own = self.corrections[code].adjustment, rows[codes == code]
            if adjustment is not None:
                found[own] = self.words.weigh(terms[own], self._layout, adjustment)
        return found

    def _codes(self, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of products of platforms with a correction, int64 [k], and which each has, int64 [k]."""
        codes = {platform: code for code, platform in enumerate(self.settings.corrections)}
        found = [(row, codes[product.platform]) for row, product in enumerate(products) if product.platform in codes]
        rows, own = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return rows, own

    def _corrected(self, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        rows, own = self._codes(products)
        if not len(rows):
            return None
        parts = np.zeros((len(rows), len(self._layout)), dtype=np.float32)
        if self.settings.words is not None:
            terms = self.terms([products[row] for row in rows.tolist()])
            for code in np.unique(own).tolist():
                parts[own == code] = self.corrections[code].from_words(terms[own == code])
        return rows, own, parts

    def terms(self, products: Sequence[Product]) -> csr_matrix:
        """n products -> float32 [n, V], as the model of words reads them; only where settings.words is given. With settings.descriptions
        [n, 2 V]: those of descriptions that are read beside titles have their own weights."""
        assert self.settings.words is not None
        titles = self.words.matrix([text or "" for text in _texts_of(products, self.settings.words)])
        if not self.settings.descriptions:
            return titles
        twins = [_described(product) or replace(product, title=None, description=None, brand=None) for product in products]
        return hstack([titles, self.words.matrix([text or "" for text in _texts_of(twins, self.settings.words)])]).tocsr()

    def _described(self, products: Sequence[Product]) -> tuple[np.ndarray, Prepared] | None:
        """The second reading of products that have both texts: without images, which are the same."""
        if not self.settings.descriptions:
            return None
        twins = {row: twin for row, product in enumerate(products) if (twin := _described(product))}
        return (np.array(list(twins), dtype=np.int64), self._once(list(twins.values()))) if twins else None

    def joined(self, parts: Sequence[Prepared]) -> Prepared:
        """Several requests' products as one batch, in order."""
        starts = np.cumsum([0, *(part.size for part in parts)])
        inputs = {}
        for name in [*(modality.name for modality in self.settings.modalities), WORDS]:
            having = [(start, *part.inputs[name]) for start, part in zip(starts, parts, strict=False) if name in part.inputs]
            if having:
                rows = np.concatenate([start + rows for start, rows, _ in having])
                arrays = [array for _, _, array in having]
                inputs[name] = rows, _padded(arrays, self._texts[name].settings.pad_id) if name in self._texts else np.concatenate(arrays)
        again = [(start, *part.described) for start, part in zip(starts, parts, strict=False) if part.described is not None]
        described = (np.concatenate([start + rows for start, rows, _ in again]), self.joined([twins for _, _, twins in again])) if again else None
        moved = [(start + part.corrected[0], *part.corrected[1:]) for start, part in zip(starts, parts, strict=False) if part.corrected is not None]
        corrected = None
        if moved:
            rows, codes, logits = (np.concatenate(arrays) for arrays in zip(*moved, strict=True))
            corrected = rows, codes, logits
        problems = tuple(problem for part in parts for problem in part.image_problems)
        return Prepared(int(starts[-1]), inputs, problems, described, corrected)

    def pad(self, modality: str) -> int | None:
        """The id that fills short rows of a text modality; None for any other."""
        tokens = self._texts.get(modality)
        return tokens.settings.pad_id if tokens else None

    def _vectors(self, products: Sequence[Product], vectors: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if vectors is None:
            rows, texts = _some(_texts_of(products, self.stage_one.settings.text))
            return rows, self.stage_one.read(texts)[1]
        rows = np.flatnonzero(~np.isnan(vectors[:, 0]))
        return rows, vectors[rows]

    def _image(self, product: Product, row: int, problems: list[ImageProblem | None], at_least: int) -> Any:
        if product.image is None:
            return None
        try:
            return decode(product.image, self.settings.image_limits, at_least=at_least)
        except ImageError as error:
            problems[row] = (error.reason, error.detail)
            return None


def correction_file(code: int) -> str:
    """In the folder of stage two. Not by the platform's name, which may hold anything."""
    return f"{CORRECTION}{code:04}.safetensors"


def _described(product: Product) -> Product | None:
    """The product with its description in the place of its title, without image; None unless it has both texts."""
    if not (product.title and product.description):
        return None
    return replace(product, title=product.description, description=None, image=None, image_problem=None)


def _texts_of(products: Sequence[Product], reading: TextReading) -> list[str | None]:
    return [reading.of(p.title, p.description, p.brand, p.language) for p in products]


def _some(items: Sequence[T | None]) -> tuple[np.ndarray, list[T]]:
    """The rows that have an item, and the items."""
    return np.array([row for row, item in enumerate(items) if item is not None], dtype=np.int64), [item for item in items if item is not None]


def _padded(arrays: Sequence[np.ndarray], pad: int) -> np.ndarray:
    """Token ids [m_i, T_i] -> [sum m_i, max T_i]."""
    ids = np.full((sum(map(len, arrays)), max(array.shape[1] for array in arrays)), pad, dtype=np.int32)
    start = 0
    for array in arrays:
        ids[start : start + len(array), : array.shape[1]] = array
        start += len(array)
    return ids

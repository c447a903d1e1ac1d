"""What a model wants of a title or a photo: the only place of normalisation, for training, batch and online alike. Derived from the weights' own
configuration, kept beside them in encoder.json.

Knows no weights and imports no torch: CPU workers and the text replica prepare inputs without it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field, ValidationError
from tokenizers import Encoding, Tokenizer

from prodcat.config import Config
from prodcat.errors import EncoderError

if TYPE_CHECKING:
    import torch

TextFields = Literal["title", "description", "brand"]
MANIFEST = "encoder.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_SLIVER = 8
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


def product_text(title: str | None, description: str | None, brand: str | None, fields: Sequence[str]) -> str | None:
    """The text of a product: the wanted fields it has, in the order of `fields`, joined by ". ".

    Returns:
        None when there is nothing to read. If only the title is wanted and there is none, the description stands in.
    """
    values = {"title": title, "description": description, "brand": brand}
    found = [value for value in (values[field] for field in fields) if value]
    if not found and tuple(fields) == ("title",) and description:
        found = [description]
    return ". ".join(found) if found else None


class TextReading(Config):
    """Which text of a product is read, and how words of languages that a model does not know are put."""

    fields: tuple[TextFields, ...] = Field(("title",), min_length=1, description="fields of a product that are read, in this order")
    glossary: Literal["off", "added", "instead"] = Field(
        "off",
        description="what the glossary finds in a field that is not in one of own_languages: added: its English nouns behind the text; instead: in "
        "its place, for a model that reads English alone. Where it finds nothing the text stays",
    )
    own_languages: tuple[str, ...] = Field(("en",), description="ISO 639-1 codes of languages that are read as they stand")
    synonyms: bool = Field(
        False, description="English words for products get the commoner ones of other shops behind them (synonyms.csv), the glossary's nouns too"
    )

    def of(self, title: str | None, description: str | None, brand: str | None, language: str | None) -> str | None:
        """The text of a product, as `product_text`, with the glossary's nouns and the commoner words.

        Args:
            language: of the product; None if it is not known.
        """
        if self.glossary == "off" and not self.synonyms:
            return product_text(title, description, brand, self.fields)
        return product_text(self._read(title, language), self._read(description, language), brand, self.fields)

    def _read(self, text: str | None, language: str | None) -> str | None:
        # Here and not above: most readings have neither, and their rows take a moment to load.
        from prodcat.glossary import Glossary
        from prodcat.synonyms import Synonyms

        if not text:
            return text
        english: tuple[str, ...] = ()
        if self.glossary != "off" and language not in self.own_languages:
            english = Glossary.shipped().english(text, language)
        if english:
            if self.synonyms:
                english = (*english, *Synonyms.shipped().commoner(" ".join(english)))
            return f"{text} ({', '.join(english)})" if self.glossary == "added" else ", ".join(english)
        # Where nobody knows the language it may be English.
        return Synonyms.shipped().add(text) if self.synonyms and language in ("en", None) else text


class TextInput(TextReading):
    """How titles become token ids for one set of weights."""

    max_tokens: int = Field(64, ge=4, description="longest sequence, special tokens included; the rest is cut off")
    pad_id: int = Field(1, ge=0, description="id that fills short rows; the model ignores it")


class Tokens:
    """A TextInput with its vocabulary, loaded from tokenizer.json by the tokenizers library alone."""

    def __init__(self, settings: TextInput, folder: Path) -> None:
        self.settings = settings
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the Rust library raises bare Exception for a missing and for a malformed file
            raise EncoderError(f"{folder / 'tokenizer.json'}: not a vocabulary ({error}); write the encoder folder again") from error
        # Files carry the padding and truncation of whoever saved them.
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=settings.max_tokens)
        # "<s>" typed into a title is text, not a special token.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        # Unigram vocabularies (XLM-R's) hold their special tokens among the pieces of text, and find them in it all the same.
        special = {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._typed = frozenset(number for number, token in special.items() if number in tokenizer.encode(token, add_special_tokens=False).ids)

    def prepare(self, texts: Sequence[str]) -> np.ndarray:
        """n texts -> int32 [n, T] token ids, padded to the longest of these; [0, 0] for none."""
        rows = [self._ids(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        ids = np.full((len(rows), max(map(len, rows), default=0)), self.settings.pad_id, dtype=np.int32)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        return ids

    def _ids(self, encoding: Encoding) -> list[int]:
        if not self._typed:
            return encoding.ids
        return [number for number, own in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if own or number not in self._typed]


class ImageInput(Config):
    """How an RGB image becomes numbers for one set of weights."""

    size: int = Field(224, gt=0, description="side of the square the model sees, pixels")
    resize: Literal["squash", "shortest_crop", "pad"] = Field(
        "shortest_crop", description="squash the shape, cut off the long side, or pad the short one"
    )
    crop_pct: float = Field(1.0, gt=0, le=1, description="part of the resized side that the centre crop keeps")
    interpolation: Literal["bicubic", "bilinear", "nearest", "lanczos"] = Field("bicubic", description="filter of the resize")
    mean: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="per channel, of values in 0..1")
    std: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="per channel, of values in 0..1")
    fill: tuple[int, int, int] = Field((0, 0, 0), description="colour of padding, 0..255")

    @classmethod
    def from_timm(cls, pretrained_cfg: Mapping[str, Any]) -> "ImageInput":
        """From timm's PretrainedCfg, as timm.data.create_transform reads it."""
        from timm.data import resolve_data_config

        data = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))
        mean = tuple(float(value) for value in data["mean"])
        return _checked(
            cls,
            size=_square(data["input_size"][-2:], "timm"),
            resize={"center": "shortest_crop", "squash": "squash", "border": "pad"}.get(data["crop_mode"], data["crop_mode"]),
            crop_pct=float(data["crop_pct"]),
            # timm means "bilinear or bicubic, at random" in training, and bilinear when it only looks.
            interpolation="bilinear" if data["interpolation"] == "random" else data["interpolation"],
            mean=mean,
            std=tuple(float(value) for value in data["std"]),
            fill=tuple(round(255 * value) for value in mean),
        )

    @classmethod
    def from_open_clip(cls, preprocess_cfg: Mapping[str, Any]) -> "ImageInput":
        """From open_clip's PreprocessCfg, as open_clip.image_transform_v2 reads it."""
        from open_clip.transform import PreprocessCfg

        data = PreprocessCfg(**preprocess_cfg)
        return _checked(
            cls,
            size=_square(data.size, "open_clip"),
            resize={"shortest": "shortest_crop", "longest": "pad", "squash": "squash"}.get(data.resize_mode, data.resize_mode),
            interpolation="bilinear" if data.interpolation == "bilinear" else "bicubic",
            mean=tuple(data.mean),
            std=tuple(data.std),
            fill=(data.fill_color,) * 3,
        )

    def to_open_clip(self) -> dict[str, Any]:
        """As open_clip's PreprocessCfg. Only for inputs that have one: no border cut off, one grey fill."""
        mode = {"shortest_crop": "shortest", "pad": "longest", "squash": "squash"}[self.resize]
        names = {"size": self.size, "mode": "RGB", "interpolation": self.interpolation, "resize_mode": mode, "fill_color": self.fill[0]}
        return {**names, "mean": list(self.mean), "std": list(self.std)}

    @cached_property
    def scale(self) -> int:
        """Side to which the image is resized before the centre is cut out, pixels."""
        return math.floor(self.size / self.crop_pct)

    @property
    def at_least(self) -> int:
        """Side that decoding must keep (images.decode's at_least): twice the resize, so that a JPEG's own shrinking leaves no trace."""
        return 2 * self.scale

    def prepare(self, image: Image.Image) -> np.ndarray:
        """RGB image -> uint8 [S, S, 3]. Follows torchvision's Resize and CenterCrop, to which timm and open_clip leave the work."""
        width, height = image.size
        if self.resize == "squash":
            resized = (self.scale, self.scale)
        elif self.resize == "shortest_crop":
            short = min(width, height)
            if max(width, height) > _SLIVER * short:
                # The crop sees only the middle; resizing all of a 20,000 x 10 strip would take gigabytes.
                image = ImageOps.fit(image, (min(width, _SLIVER * short), min(height, _SLIVER * short)))
                width, height = image.size
            # The long side is cut down to whole pixels, as torchvision does it.
            resized = (int(self.scale * width / short), int(self.scale * height / short))
        else:
            ratio = max(width, height) / self.scale
            resized = (max(1, round(width / ratio)), max(1, round(height / ratio)))
        if resized != image.size:
            image = image.resize(resized, _FILTERS[self.interpolation])
        return np.array(self._centre(image), dtype=np.uint8)

    def _centre(self, image: Image.Image) -> Image.Image:
        lack_x, lack_y = max(self.size - image.width, 0), max(self.size - image.height, 0)
        if lack_x or lack_y:
            image = ImageOps.expand(image, (lack_x // 2, lack_y // 2, (lack_x + 1) // 2, (lack_y + 1) // 2), fill=self.fill)
        left, top = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))

    def normalise(self, batch: "torch.Tensor") -> "torch.Tensor":
        """uint8 [B, S, S, 3] -> float32 [B, 3, S, S], on the batch's device."""
        values = batch.float().permute(0, 3, 1, 2) / 255.0
        mean = values.new_tensor(self.mean)[:, None, None]
        std = values.new_tensor(self.std)[:, None, None]
        return ((values - mean) / std).contiguous()


Precision = Literal["fp32", "bf16"]


class Manifest(Config):
    """encoder.json: what stands beside the weights, so that a folder is enough to use them."""

    family: Literal["roberta", "vit", "clip"] = Field(description="which file of prodcat.encoders opens the folder")
    pooling: Literal["cls", "mean", "token", "token_mean"] | None = Field(
        None, description="how token vectors become one vector; null if the weights say"
    )
    taps: int = Field(1, ge=1, description="ViT: blocks whose vectors stand side by side")
    dim: int = Field(gt=0, description="numbers in a vector")
    precision: Precision = Field("fp32", description="of the forward pass on a GPU")
    text: TextInput | None = Field(None, description="null for a family without a text tower")
    image: ImageInput | None = Field(None, description="null for a family without an image tower")

    def save(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Raises EncoderError for a folder that is no encoder folder."""
        file = Path(folder) / MANIFEST
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise EncoderError(f"{file}: cannot be read ({error.strerror}); an encoder folder is written by obtain or Encoder.save") from error
        except ValidationError as error:
            raise EncoderError(f"{file}: not an encoder's description: {error}; write the folder again") from error


def _square(size: Any, source: str) -> int:
    sides = {int(side) for side in size} if isinstance(size, Sequence) else {int(size)}
    if len(sides) != 1:
        raise EncoderError(f"{source} weights that read {tuple(size)} pixels: only square inputs are supported; choose other weights")
    return sides.pop()


def _checked(kind: type[ImageInput], **values: Any) -> ImageInput:
    try:
        return kind(**values)
    except ValidationError as error:
        raise EncoderError(f"preprocessing that is not supported: {error}; choose other weights") from error

"""The protocol that every encoder follows, where one comes from (`obtain`), and the folder it lives in (`load`). Knows no family's insides: those
stand one a file in roberta.py, vit.py and clip.py, and are imported when one is asked for.

An encoder folder is whole: safetensors, JSON and tokenizer files plus encoder.json (inputs.Manifest). No hub is needed to use it.
"""

import hashlib
import importlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from prodcat.config import C, Config
from prodcat.encoders.inputs import MANIFEST, Manifest, Precision, TextFields, TextReading
from prodcat.errors import EncoderError

if TYPE_CHECKING:
    import torch

FAMILIES = {"roberta": "prodcat.encoders.roberta", "vit": "prodcat.encoders.vit", "clip": "prodcat.encoders.clip"}
_POOLINGS: dict[str, tuple[str | None, ...]] = {"roberta": ("mean", "cls"), "vit": ("token_mean", "token"), "clip": (None,)}
# In an encoder's folder: the SHA-256 of its files when it was written, as `sha256sum -c` reads them.
SUMS = "SHA256SUMS"
_HASHED = (".json", ".safetensors", ".txt")
_log = logging.getLogger(__name__)


class Tower(Protocol):
    """One input, one vector: pre (CPU), then core (device)."""

    fingerprint: str

    @property
    def reads(self) -> Literal["text", "image"]: ...

    @property
    def dim(self) -> int: ...

    @property
    def fields(self) -> tuple[TextFields, ...]:
        """What product_text joins for this tower; empty for images."""
        ...

    @property
    def at_least(self) -> int | None:
        """What images.decode must keep for this tower, pixels; None for text."""
        ...

    def prepare(self, items: Sequence[Any]) -> np.ndarray:
        """n texts -> int32 [n, T] token ids, padded to the longest; n RGB images -> uint8 [n, S, S, 3]. Deterministic, on the CPU."""
        ...

    def encode(self, prepared: np.ndarray) -> np.ndarray:
        """What `prepare` made -> float32 [n, dim], on the module's device. A row's vector is the same alone and in any batch, to 1e-5."""
        ...


class Encoder(Protocol):
    """Towers that share weights. `fingerprint` and the towers' follow the folder: training changes the module, `save` brings them up to date."""

    family: str
    towers: dict[str, Tower]
    module: "torch.nn.Module"
    folder: Path
    fingerprint: str

    def save(self, folder: str | Path) -> None:
        """Write a whole encoder folder; an encoder already there is replaced."""
        ...

    def to(self, device: str) -> Self: ...


def _divides(config: C, whole: int, part: int, part_name: str, whole_name: str) -> C:
    if whole % part:
        raise ValueError(f"{part_name} {part} must divide {whole_name} {whole}")
    return config


class TextScratch(Config):
    """A small transformer over a vocabulary learned from titles."""

    layers: int = Field(4, ge=1, description="transformer blocks")
    width: int = Field(256, ge=8, description="width of the token vectors")
    heads: int = Field(4, ge=1, description="attention heads; divide the width")
    vocabulary: int = Field(8000, ge=300, description="entries of the learned vocabulary")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        return _divides(self, self.width, self.heads, "heads", "width")


class ImageScratch(Config):
    """A small vision transformer."""

    size: int = Field(112, ge=16, description="side of the square it sees, pixels")
    patch: int = Field(16, ge=2, description="side of a patch; divides the size")
    layers: int = Field(6, ge=1, description="transformer blocks")
    width: int = Field(192, ge=8, description="width of the patch vectors")
    heads: int = Field(3, ge=1, description="attention heads; divide the width")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        return _divides(_divides(self, self.width, self.heads, "heads", "width"), self.size, self.patch, "patch", "size")


class ScratchConfig(Config):
    """Shape of an encoder that is made here. RoBERTa reads `text`, ViT `image`, CLIP all of it."""

    text: TextScratch = TextScratch()
    image: ImageScratch = ImageScratch()
    embed_dim: int = Field(128, ge=2, description="CLIP: size of the space that images and titles share")
    vision_from: str | None = Field(
        None, description="CLIP: folder of a timm ViT whose weights start the image tower, at image.size; its shape is its own"
    )


class EncoderConfig(Config):
    """Where an encoder comes from and how it reads."""

    family: Literal["roberta", "vit", "clip"] = Field("roberta", description="text; image; both in one space")
    source: str | list[str] = Field(
        "scratch", description='tried in order until one can be had: "minilm", "scratch", "hub:NAME", or a folder (in the hub\'s own format or ours)'
    )
    pooling: Literal["cls", "mean", "token", "token_mean"] | None = Field(
        None,
        description='text: "mean" (default) or "cls"; ViT: "token_mean" (default: with the mean of the patches beside it), "token"; CLIP: none',
    )
    taps: int = Field(
        1,
        ge=1,
        description="ViT: blocks whose vectors stand side by side: the last one, the others evenly down to the middle. What the last block has "
        "given up for its own labels, a catalog's categories may need",
    )
    fields: tuple[TextFields, ...] = Field(("title",), min_length=1, description="fields of a product that the text tower reads")
    glossary: Literal["off", "added", "instead"] = Field(
        "off",
        description="texts in languages other than own_languages: added: the glossary's English nouns behind them; instead: in their place, for an "
        "encoder that reads English alone",
    )
    own_languages: tuple[str, ...] = Field(("en",), description="ISO 639-1 codes of languages that the text tower reads as they stand")
    synonyms: bool = Field(False, description="English words for products get the commoner ones of other shops behind them (synonyms.csv)")
    max_tokens: int = Field(64, ge=4, le=4096, description="longest text in tokens; CLIP from a hub or folder keeps its own")
    scratch: ScratchConfig = ScratchConfig()
    precision: Precision = Field(
        "fp32", description="bf16: a GPU computes with half of the digits (autocast), in batch and in serving alike; a CPU computes fp32 all the same"
    )
    seed: int = Field(0, ge=0, description="of the random weights of an encoder from scratch")

    @model_validator(mode="after")
    def _pooling_fits(self) -> Self:
        if self.pooling not in (None, *_POOLINGS[self.family]):
            raise ValueError(f"family {self.family!r} has no pooling {self.pooling!r}; it has {[p for p in _POOLINGS[self.family] if p]}")
        return self

    @property
    def reading(self) -> TextReading:
        """What the text tower reads of a product."""
        return TextReading(fields=self.fields, glossary=self.glossary, own_languages=self.own_languages, synonyms=self.synonyms)

    @property
    def chosen_pooling(self) -> Any:
        return self.pooling or _POOLINGS[self.family][0]


@dataclass(frozen=True)
class TowerFacts:
    """What can be said of a tower without opening its weights."""

    reads: Literal["text", "image"]
    dim: int
    fingerprint: str


@dataclass(frozen=True)
class Obtained:
    """What `obtain` found.

    Args:
        needs_training: the weights are (partly) random.
        source: the one of config.source that was used.
        refused: why each source before it could not be had.
    """

    encoder: Encoder
    needs_training: bool
    source: str
    refused: tuple[str, ...] = ()


@dataclass
class FolderEncoder:
    """The one Encoder: what a family's `open_folder` made of a folder."""

    family: str
    towers: dict[str, Tower]
    module: "torch.nn.Module"
    folder: Path
    fingerprint: str

    def save(self, folder: str | Path) -> None:
        target = Path(folder)
        part = _fresh_part(target)
        for file in _content(self.folder):
            if file.suffix != ".safetensors":
                shutil.copyfile(file, part / file.name)
        _family(self.family).write(self.module, part)
        _put_in_place(part, target)
        self.folder, self.fingerprint = target, fingerprint(target)
        for tower in self.towers.values():
            tower.fingerprint = tower_fingerprint(self.fingerprint, tower.reads)

    def to(self, device: str) -> Self:
        self.module.to(device)
        return self


def fingerprint(folder: str | Path) -> str:
    """SHA-256 over names and bytes of all weights, configuration, tokenizer and preprocessing files of an encoder folder, wherever it lies."""
    return _fingerprint_of(_sums(Path(folder)))


def _fingerprint_of(sums: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in sums.items()).encode()).hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    """File -> SHA-256."""
    found = {}
    for file in _content(folder):
        with file.open("rb") as stream:
            found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _verified(folder: Path) -> str:
    """The folder's fingerprint. Raises EncoderError naming the file that is not the one that was written."""
    if not (folder / SUMS).is_file():
        raise EncoderError(f"{folder}: lacks {SUMS}; it was not written whole: write the folder again")
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = _sums(folder)
    for name in sorted({*written, *found}):
        if written.get(name) != found.get(name):
            what = "is missing" if name not in found else f"is not in {SUMS}" if name not in written else f"does not have the SHA-256 in {SUMS}"
            raise EncoderError(f"{folder / name}: {what}; write the folder again")
    return _fingerprint_of(found)


def tower_fingerprint(encoder: str, reads: str) -> str:
    """The two towers of one encoder keep their features apart."""
    return hashlib.sha256(f"{encoder}\0{reads}".encode()).hexdigest()


def describe(folder: str | Path) -> dict[str, TowerFacts]:
    """The towers of an encoder folder; needs no torch. Raises EncoderError for a folder that is no encoder folder, or not as it was written."""
    manifest, identity = Manifest.load(Path(folder)), _verified(Path(folder))
    sides: dict[Literal["text", "image"], Any] = {"image": manifest.image, "text": manifest.text}
    return {reads: TowerFacts(reads, manifest.dim, tower_fingerprint(identity, reads)) for reads, side in sides.items() if side is not None}


def obtain(config: EncoderConfig, folder: str | Path, titles: Sequence[str]) -> Obtained:
    """Find or make an encoder and write it, whole, to `folder`.

    Args:
        titles: what the vocabulary of a text encoder from scratch is learned from; not read otherwise.

    Raises:
        EncoderError: none of the sources can be had; says why for each.
    """
    import torch

    family, target = _family(config.family), Path(folder)
    refused: list[str] = []
    for source in [config.source] if isinstance(config.source, str) else config.source:
        part = _fresh_part(target)
        try:
            # Libraries fill modules with random weights before they load others: nobody else's random numbers shall depend on that.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                if source == "scratch":
                    manifest = family.scratch(config, part, titles)
                else:
                    manifest = _from_elsewhere(config, source, part)
        except EncoderError as error:
            shutil.rmtree(part)
            refused.append(str(error))
            _log.warning("%s encoder: %s", config.family, error)
            continue
        manifest.model_copy(update={"precision": config.precision}).save(part)
        _put_in_place(part, target)
        return Obtained(load(target), source == "scratch", source, tuple(refused))
    raise EncoderError(f"no {config.family} encoder could be had: " + "; ".join(refused or ["no source is named"]))


def _from_elsewhere(config: EncoderConfig, source: str, part: Path) -> Manifest:
    family = _family(config.family)
    if source == "minilm":
        if config.family != "roberta":
            raise EncoderError(f"source 'minilm' is a text encoder, the family is {config.family!r}; name another source")
        from prodcat.encoders import minilm

        found: Manifest = family.fetch(config, str(minilm.folder()), part, hub=False)
        return found
    if source.startswith("hub:"):
        from prodcat.encoders.hub import reaching

        name = source.removeprefix("hub:")
        with reaching(name):
            fetched: Manifest = family.fetch(config, name, part, hub=True)
        return fetched
    origin = Path(source).expanduser()
    if not origin.is_dir():
        raise EncoderError(f"{source}: no such folder; give a folder with weights, 'hub:NAME', 'minilm' or 'scratch'")
    if (origin / MANIFEST).is_file():
        manifest = Manifest.load(origin)
        if manifest.family != config.family:
            raise EncoderError(f"{source}: holds a {manifest.family} encoder, expected is {config.family}")
        load(origin)
        for file in _content(origin):
            shutil.copyfile(file, part / file.name)
        return manifest
    copied: Manifest = family.fetch(config, str(origin), part, hub=False)
    return copied


def load(folder: str | Path, device: str = "cpu") -> Encoder:
    """Open an encoder folder, in evaluation mode.

    Raises:
        EncoderError: names the file that is missing or does not fit, or the folder whose files are not those that were written.
    """
    import torch

    place = Path(folder)
    manifest, identity = Manifest.load(place), _verified(place)
    try:
        with torch.random.fork_rng(devices=[]):
            module, towers = _family(manifest.family).open_folder(place, manifest)
    except EncoderError:
        raise
    except Exception as error:  # three libraries, each with its own errors for damaged files
        raise EncoderError(f"{place}: its {manifest.family} weights do not load ({type(error).__name__}: {error}); write the folder again") from error
    for tower in towers.values():
        tower.fingerprint, tower.precision = tower_fingerprint(identity, tower.reads), manifest.precision
    return FolderEncoder(manifest.family, towers, module.eval(), place, identity).to(device)


def read_otherwise(source: Path, target: Path, reading: Mapping[str, Any]) -> None:
    """Write the encoder of a folder to another one, its text tower with other settings of reading (TextInput)."""
    _verified(source)
    part = _fresh_part(target)
    for file in _content(source):
        shutil.copyfile(file, part / file.name)
    manifest = Manifest.load(part)
    assert manifest.text is not None
    manifest.model_copy(update={"text": manifest.text.model_copy(update=dict(reading))}).save(part)
    _put_in_place(part, target)


def needed(folder: Path, *names: str) -> None:
    """Raises EncoderError naming the files that `folder` lacks."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise EncoderError(f"{folder}: lacks {', '.join(missing)}; give a folder in the hub's own format, with safetensors weights")


def _family(name: str) -> Any:
    return importlib.import_module(FAMILIES[name])


def _content(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in _HASHED)


def _fresh_part(target: Path) -> Path:
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise EncoderError(f"{target}: holds something that is no encoder; give an empty folder or one that holds an encoder to replace")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def _put_in_place(part: Path, target: Path) -> None:
    (part / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in _sums(part).items()), encoding="utf-8")
    # A reader never sees a half-written folder under the final name.
    if target.exists():
        shutil.rmtree(target)
    part.rename(target)

"""A bundle: the folder that holds all that prediction needs, and a manifest with the SHA-256 of every file. Imports no torch.

    manifest.json      format, version, sums, encoder fingerprints, what it was trained on
    taxonomy.json      the tree
    versions.json      how answers read in earlier versions of the tree; none for a tree of the first version
    cascade.yaml       decoder, stops, calibration of both stages, gate, back-off, conformal sets, text fields
    stage_one/         model.onnx, tokenizer.json, text_stage.yaml
    stage_two/         model.safetensors, modalities.safetensors, multimodal_stage.yaml; words.safetensors, words.json
                       where it reads words; correction_*.safetensors of platforms it was adapted to
    encoders/NAME/     each a self-contained encoder folder
    seen.safetensors   hashes of the products it was trained, calibrated and gated on, so that evaluation can leave them out

No pickle anywhere. A file whose sum differs, a file that is missing, and a file the manifest does not know are refused by name.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from prodcat.config import Config, read_yaml, validate
from prodcat.encoders.inputs import MANIFEST as ENCODER
from prodcat.encoders.inputs import TOKENIZER_FILES
from prodcat.errors import BundleError, TaxonomyError
from prodcat.model.words import TERMS, WORDS
from prodcat.prediction.cascade import Cascade, CascadeSettings, Elsewhere
from prodcat.prediction.preparing import CORRECTION, Preparation
from prodcat.prediction.preparing import SETTINGS as PREPARING
from prodcat.prediction.text_stage import TextStage
from prodcat.prediction.versions import VERSIONS, Versions
from prodcat.taxonomy import HeadLayout, Taxonomy

if TYPE_CHECKING:
    from prodcat.prediction.multimodal_stage import MultimodalStage

FORMAT = 8
MANIFEST, TAXONOMY, CASCADE, SEEN = "manifest.json", "taxonomy.json", "cascade.yaml", "seen.safetensors"
STAGE_ONE, STAGE_TWO, ENCODERS = "stage_one", "stage_two", "encoders"


class Manifest(Config):
    """What a bundle says of itself.

    Args:
        version: first 12 digits of the SHA-256 over the files' sums: equal for equal content.
        encoders: tower -> fingerprint the fusion was trained on.
        training: free facts for people: catalog digest, products, seed, prodcat version.
    """

    format: int
    version: str
    taxonomy: str
    files: dict[str, str]
    encoders: dict[str, str]
    training: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose sums have been checked. Models are loaded when asked for."""

    folder: Path
    manifest: Manifest
    tree: Taxonomy
    settings: CascadeSettings

    @property
    def version(self) -> str:
        return self.manifest.version

    @classmethod
    def open(cls, folder: str | Path, *, only: Callable[[str], bool] | None = None) -> "Bundle":
        """Read the manifest and check sums.

        Args:
            only: says of a file's name in the bundle whether its sum is checked beside the tree's and the settings' (a text replica passes
                `for_text_stage`); None for all.

        Raises:
            BundleError: names the file that is missing, changed or unknown.
        """
        folder = Path(folder)
        manifest = _manifest(folder)
        for name, digest in manifest.files.items():
            if only is not None and name not in (TAXONOMY, CASCADE, VERSIONS) and not only(name):
                continue
            path = folder / name
            if not path.is_file():
                raise BundleError(f"{path}: missing; the bundle is incomplete, copy it again")
            if file_digest(path) != digest:
                raise BundleError(f"{path}: its SHA-256 is not the one in {MANIFEST}; it was changed or damaged, copy the bundle again or rebuild it")
        unknown = sorted(set(_files(folder)) - set(manifest.files))
        if unknown:
            raise BundleError(f"{folder / unknown[0]}: not in {MANIFEST}; a bundle is never added to, remove the file or rebuild the bundle")
        tree = Taxonomy.load(folder / TAXONOMY)
        if tree.hash != manifest.taxonomy:
            raise BundleError(f"{folder / TAXONOMY}: taxonomy {tree.hash[:12]}, but the bundle was made for {manifest.taxonomy[:12]}")
        settings = validate(CascadeSettings, read_yaml(folder / CASCADE), str(folder / CASCADE))
        _check(settings, tree, folder)
        return cls(folder, manifest, tree, settings)

    @cached_property
    def layout(self) -> HeadLayout:
        """The columns of both stages' logits."""
        return self.settings.layout(self.tree)

    @cached_property
    def versions(self) -> Versions:
        """The versions of the tree that it answers in. Raises BundleError for a file of another tree."""
        return Versions.load(self.folder / VERSIONS, self.tree) if VERSIONS in self.manifest.files else Versions()

    def text_stage(self, *, threads: int = 1) -> TextStage:
        """Raises BundleError where the model's logits have other columns than the bundle's tree and stops."""
        stage = TextStage(self.folder / STAGE_ONE, threads=threads)
        if stage.settings.columns != len(self.layout):
            raise BundleError(
                f"{self.folder / STAGE_ONE}: its model gives {stage.settings.columns} logits, but {len(self.tree)} categories and "
                f"{len(self.layout.stops)} stops need {len(self.layout)}; rebuild the bundle with `prodcat fit`"
            )
        return stage

    def preparation(self) -> Preparation:
        """What stage two is to read, without its model."""
        return Preparation(self.folder, self.layout)

    def multimodal_stage(self, *, device: str = "cpu") -> "MultimodalStage":
        """Raises BundleError where an encoder in the bundle is not the one the fusion was trained on, or the fusion's logits have other columns."""
        # Here and not above: it imports torch, which a text replica must not.
        from prodcat.prediction.multimodal_stage import MultimodalStage

        return MultimodalStage(self.folder, self.layout, self.manifest.encoders, decoder=self.settings.decoder, device=device)

    def cascade(self, *, threads: int = 1, device: str = "cpu") -> Cascade:
        """Both stages in this process."""
        stage_two = self.multimodal_stage(device=device)
        return Cascade(self.tree, self.settings, self.text_stage(threads=threads), stage_two, self.version, self.versions.present)

    def text_cascade(self, *, threads: int = 1) -> Cascade:
        """Stage one alone, for a process that asks stage two elsewhere."""
        return Cascade(self.tree, self.settings, self.text_stage(threads=threads), None, self.version, self.versions.present)

    def finishing_cascade(self) -> Cascade:
        """Neither stage, for a process that makes answers of stage two's logits."""
        return Cascade(self.tree, self.settings, Elsewhere(), None, self.version, self.versions.present)

    @cached_property
    def seen(self) -> np.ndarray:
        """uint64, sorted: key_hash of every product that training, calibration or the gate has used."""
        return load_file(self.folder / SEEN)["seen"]

    def has_seen(self, keys: Sequence[str]) -> np.ndarray:
        """bool [n]."""
        return np.isin(key_hash(keys), self.seen)


def for_text_stage(name: str) -> bool:
    """What a text replica reads of a bundle: stage one, and how stage two wants its inputs. Not the weights, which may take minutes to sum up."""
    top, _, file = name.rpartition("/")
    return (
        top == STAGE_ONE
        or file in (PREPARING, WORDS, TERMS)
        or file.startswith(CORRECTION)
        or (top.startswith(f"{ENCODERS}/") and file in (ENCODER, *TOKENIZER_FILES))
    )


def key_hash(keys: Sequence[str]) -> np.ndarray:
    """Product keys -> uint64 [n]; 64 bits of SHA-256, the same on every machine."""
    return np.array([int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") for key in keys], dtype=np.uint64)


def write_bundle(
    folder: Path,
    *,
    tree: Taxonomy,
    settings: CascadeSettings,
    encoders: dict[str, str],
    seen: Sequence[str],
    training: dict[str, Any],
    fill: Callable[[Path], None],
    also_seen: np.ndarray | None = None,
    versions: Versions = Versions(),  # noqa: B008 - frozen
) -> Bundle:
    """Write everything that is not there yet, then the manifest, last: a folder without a manifest is no bundle.

    Args:
        folder: new or empty.
        encoders: tower -> fingerprint.
        seen: keys of the products that training, calibration or the gate has used.
        fill: writes stage_one/, stage_two/ and encoders/ into the folder.
        also_seen: uint64, hashes of further ones (Bundle.seen of the bundle this one is made from).
        versions: of the tree.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BundleError(f"{folder}: not empty; a bundle is written into a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    fill(folder)
    tree.save(folder / TAXONOMY)
    write_settings(folder / CASCADE, settings)
    if versions.earlier:
        versions.save(folder / VERSIONS)
    hashes = key_hash(seen) if also_seen is None else np.union1d(key_hash(seen), also_seen)
    save_file({"seen": np.sort(hashes)}, folder / SEEN)
    files = {name: file_digest(folder / name) for name in sorted(_files(folder))}
    version = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]
    manifest = Manifest(format=FORMAT, version=version, taxonomy=tree.hash, files=files, encoders=encoders, training=training)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Bundle.open(folder)


def _check(settings: CascadeSettings, tree: Taxonomy, folder: Path) -> None:
    """What was fitted level by level must have this tree's levels."""
    try:
        settings.layout(tree)
    except TaxonomyError as error:
        raise BundleError(f"{folder / CASCADE}: stops: {error}; rebuild the bundle with `prodcat fit`") from error
    fitted: dict[str, Sequence[Any]] = {
        "calibration_one.temperatures": settings.calibration_one.temperatures,
        "calibration_two.temperatures": settings.calibration_two.temperatures,
        "calibration_one.curves": settings.calibration_one.curves or settings.calibration_one.temperatures,
        "calibration_two.curves": settings.calibration_two.curves or settings.calibration_two.temperatures,
        "backoff.thresholds": settings.backoff.thresholds if settings.backoff else settings.calibration_one.temperatures,
    }
    for name, values in fitted.items():
        if len(values) != tree.depth:
            raise BundleError(f"{folder / CASCADE}: {name} has {len(values)} levels, the tree {tree.depth}; rebuild the bundle with `prodcat fit`")


def write_settings(path: Path, settings: Config) -> None:
    """A config as YAML that `validate` reads back. JSON is YAML, and keeps every digit of a float."""
    path.write_text(settings.model_dump_json(indent=1) + "\n", encoding="utf-8")


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: no bundle here ({MANIFEST} is missing); `prodcat fit` writes one to OUT/bundle")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(f"{path}: damaged: {error}") from error
    if manifest.format != FORMAT:
        raise BundleError(f"{path}: bundle format {manifest.format}, this prodcat reads {FORMAT}; rebuild the bundle with `prodcat fit`")
    version = hashlib.sha256(json.dumps(manifest.files, sort_keys=True).encode()).hexdigest()[:12]
    if version != manifest.version:
        raise BundleError(f"{path}: the sums were edited: they make version {version}, the manifest says {manifest.version}")
    return manifest

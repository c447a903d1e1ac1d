"""What is learned from the products at hand before they are clustered, and their vectors as they are read with it. Nothing here reads a label.

    simclr      the image towers of the bundle's encoders learn from the products' photos
    whitening   what an image tower varies in between views of one photo is divided out
    joint       one vector is learned from those of images and texts

Each stands alone, and each sees what the one above it made. OUT/<what>-<name>-<digest>: one folder for each thing that was learned; what is there
for the same products and settings is not learned again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pydantic import Field

from prodcat.config import Config
from prodcat.encoders.encoder import describe
from prodcat.encoders.features import FeatureSet, read, set_name
from prodcat.images import ImageLimits
from prodcat.training.scaling import ScalingConfig
from prodcat.training.simclr.distributed import measure_noise, train_feature_simclr, train_simclr
from prodcat.training.simclr.features import FeatureSimclrConfig, JointEncoder
from prodcat.training.simclr.images import SimclrConfig
from prodcat.training.simclr.whitening import WhiteningConfig, whitening

Progress = Callable[[str], None]
MATRIX = "whitening.npy"
_JOINT = "joint"


class LearningConfig(Config):
    """What is learned before products are clustered; null: not."""

    simclr: SimclrConfig | None = Field(None, description="image encoders learn from the products' photos; minutes to hours")
    whitening: WhiteningConfig | None = Field(
        WhiteningConfig(), description="what images vary in between views of one photo is divided out of their vectors; some minutes"
    )
    joint: FeatureSimclrConfig | None = Field(None, description="one vector is learned from those of images and texts")
    scaling: ScalingConfig = Field(ScalingConfig(), description="of training")


@dataclass(frozen=True)
class Learned:
    """Where what was learned lies; nothing: the bundle's encoders as they are.

    Args:
        encoders: those of the bundle's that were trained, by name.
        turns: feature set -> folder of the matrix by which its vectors are multiplied.
        joint: folder of the joint encoder.
    """

    encoders: Mapping[str, Path] = field(default_factory=dict)
    turns: Mapping[str, Path] = field(default_factory=dict)
    joint: Path | None = None

    def facts(self, out: Path) -> dict[str, Any]:
        """JSON; folders below `out` are named from there."""
        folders = {what: {name: place.relative_to(out).as_posix() for name, place in getattr(self, what).items()} for what in ("encoders", "turns")}
        return {**folders, "joint": self.joint and self.joint.relative_to(out).as_posix()}

    @classmethod
    def of(cls, facts: Mapping[str, Any], out: Path) -> "Learned":
        encoders, turns = ({name: out / place for name, place in facts[what].items()} for what in ("encoders", "turns"))
        return cls(encoders, turns, out / facts["joint"] if facts["joint"] else None)


@dataclass(frozen=True)
class Reader:
    """Vectors of products, as they are clustered. Travels by pickle: it holds folders, not arrays.

    Args:
        sets: as embedding names them.
    """

    sets: Mapping[str, FeatureSet]
    learned: Learned = Learned()

    def vectors(self, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Set -> float32 [n, d_s], and set -> bool [n]: whether the product is in it."""
        assert self.learned.turns.keys() <= self.sets.keys()
        both = {name: read(found, list(keys)) for name, found in self.sets.items()}
        vectors = {
            name: values @ np.load(self.learned.turns[name] / MATRIX) if name in self.learned.turns else values for name, (values, _) in both.items()
        }
        present = {name: there for name, (_, there) in both.items()}
        if self.learned.joint is None:
            return vectors, present
        joined = JointEncoder.load(self.learned.joint)
        return {_JOINT: joined.of(vectors, present)}, {_JOINT: np.any([present[name] for name in joined.task.dims], axis=0)}

    def present(self, keys: Sequence[str]) -> np.ndarray:
        """bool [n]: some encoder has read the product."""
        there = [read(found, list(keys))[1] for found in self.sets.values()]
        return np.any([np.zeros(len(keys), dtype=bool), *there], axis=0)

    def weights(self, text: float) -> dict[str, float]:
        """Of each set beside the others; sets that read the same share one weight. Args: text: of texts, where images have 1."""
        if self.learned.joint is not None:
            return {_JOINT: 1.0}
        many = Counter(found.reads for found in self.sets.values())
        return {name: (text if found.reads == "text" else 1.0) / float(np.sqrt(many[found.reads])) for name, found in self.sets.items()}


@dataclass(frozen=True)
class Learning:
    """From these products.

    Args:
        out: folder that gets a folder for each thing that is learned.
        files: PRODUCTS files in which the products lie.
        keys: of the products.
    """

    out: Path
    config: LearningConfig
    files: Sequence[str]
    keys: Sequence[str]
    limits: ImageLimits
    seed: int
    on_progress: Progress = print

    def from_images(self, encoders: Mapping[str, Path]) -> Learned:
        """SimCLR and whitening, of every encoder that reads images; of products without a photo there is nothing to learn."""
        learned = Learned()
        wanted = self.config.simclr is not None or self.config.whitening is not None
        if not wanted or not len(self.keys) or not _any_photo(self.files):
            return learned
        for name, source in encoders.items():
            towers = describe(source)
            if "image" not in towers:
                continue
            place, made_of = source, towers["image"].fingerprint
            if self.config.simclr is not None:
                self.on_progress(f"SimCLR {name}: {len(self.keys):,} products")
                place = self._trained(name, source, made_of, self.config.simclr)
                learned = replace(learned, encoders={**learned.encoders, name: place})
                made_of = describe(place)["image"].fingerprint
            if self.config.whitening is not None:
                self.on_progress(f"whitening {name}: {min(len(self.keys), self.config.whitening.most):,} products")
                turned = self._turned(name, place, made_of, self.config.whitening)
                learned = replace(learned, turns={**learned.turns, set_name(name, "image", len(towers)): turned})
        return learned

    def from_vectors(self, reader: Reader) -> Learned:
        """What the reader has learned, and the joint encoder, if one is wanted."""
        training = self.config.joint
        if training is None or not len(self.keys) or not reader.present(self.keys).any():
            return reader.learned
        vectors, present = reader.vectors(self.keys)
        # The folder's name and not its place: a folder that was moved has learned the same.
        turns = {name: place.name for name, place in reader.learned.turns.items()}
        made_of = "\n".join(f"{name} {found.fingerprint} {turns.get(name)}" for name, found in sorted(reader.sets.items()))
        out = self._folder("joint", "vectors", made_of, training)
        self.on_progress(f"SimCLR of stored vectors: {len(self.keys):,} products")
        train_feature_simclr(vectors, present, training, out=out, scaling=self.config.scaling, seed=self.seed, on_progress=self.on_progress)
        return replace(reader.learned, joint=out)

    def _trained(self, name: str, source: Path, made_of: str, training: SimclrConfig) -> Path:
        return train_simclr(
            source,
            self._folder("simclr", name, made_of, training),
            training,
            product_files=self.files,
            keys=self.keys,
            limits=self.limits,
            scaling=self.config.scaling,
            seed=self.seed,
            on_progress=self.on_progress,
        )

    def _turned(self, name: str, source: Path, made_of: str, config: WhiteningConfig) -> Path:
        folder = self._folder("whitening", name, made_of, config)
        if not (folder / MATRIX).is_file():
            noise = measure_noise(source, config, product_files=self.files, keys=self.keys, limits=self.limits, seed=self.seed)
            folder.mkdir(parents=True, exist_ok=True)
            # Under its own name only when it is whole.
            np.save(folder / f"part-{MATRIX}", whitening(noise, config.shrinkage))
            (folder / f"part-{MATRIX}").rename(folder / MATRIX)
        return folder

    def _folder(self, what: str, name: str, made_of: str, config: Config) -> Path:
        told = json.dumps([made_of, config.model_dump(mode="json"), self.seed, list(self.keys)])
        return self.out / f"{what}-{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _any_photo(files: Sequence[str]) -> bool:
    """Reads no further than the first."""
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(64, columns=["image"]):
            if batch.column(0).null_count < batch.num_rows:
                return True
    return False

"""Encoders of a run: found or made, trained or adapted where they are to be, kept in OUT/encoders/NAME/ready."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prodcat.encoders.encoder import EncoderConfig, obtain
from prodcat.images import ImageLimits
from prodcat.labelled import Labelled
from prodcat.run_folder import BY_CATEGORIES, TRAINING, Progress, Steps
from prodcat.taxonomy import Taxonomy
from prodcat.training.distributed import train_encoder
from prodcat.training.encoders import EncoderTraining
from prodcat.training.scaling import ScalingConfig

# In an encoder's folder of a run: which of its sources could be had.
_SOURCE = "source.txt"


@dataclass(frozen=True)
class Place:
    """What all encoders of a run share.

    Args:
        out: the run's folder.
        product_files: Parquet files of PRODUCTS that hold the training products.
        tree: of the labels, for encoders that learn from them.
        limits: of images.
        steps: the run's.
    """

    out: Path
    product_files: Sequence[str]
    tree: Taxonomy
    limits: ImageLimits
    scaling: ScalingConfig
    steps: Steps
    on_progress: Progress


def from_elsewhere(ready: Path) -> bool:
    """Args: ready: what `ready_encoder` gave. Returns: whether its weights came with it, trained by somebody else, or were made on the catalog."""
    source = ready.parent / _SOURCE
    return source.is_file() and source.read_text(encoding="utf-8").strip() != "scratch"


def made_here(ready: Mapping[str, Path], places: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """The feature sets that encoders made on the catalog give, where one that came with trained weights reads the same.

    Args:
        ready: encoder -> its folder; what is not among them, stage one, was made on the catalog.
        places: feature set -> encoder and tower.
    """
    elsewhere = {encoder for encoder, folder in ready.items() if from_elsewhere(folder)}
    towers = {tower for encoder, tower in places.values() if encoder in elsewhere}
    return tuple(name for name, (encoder, tower) in places.items() if encoder not in elsewhere and tower in towers)


def ready_encoder(
    name: str, encoder: EncoderConfig, pretraining: EncoderTraining | None, adaptation: EncoderTraining | None, train: Labelled, place: Place
) -> tuple[Path, str]:
    """The encoder's folder, and the key of the step that made it. Assumes a cluster is joined.

    Args:
        pretraining: how one that starts from scratch is trained; None: not at all.
        adaptation: how one that comes with trained weights is trained further; None: it is used as it is.
        train: the products it may learn from.

    Raises:
        EncoderError: none of its sources can be had.
    """
    folder = place.out / "encoders" / name

    def make() -> None:
        obtained = obtain(encoder, folder / "untrained", [text for text in train.texts if text])
        place.on_progress(f"  {name}: {obtained.source}")
        (folder / _SOURCE).write_text(obtained.source + "\n", encoding="utf-8")
        training = pretraining if obtained.needs_training else adaptation
        if training is not None:
            train_encoder(
                folder / "untrained",
                folder / "ready",
                training,
                product_files=place.product_files,
                keys=train.keys,
                texts=train.texts,
                targets=train.targets,
                tree=place.tree,
                limits=place.limits,
                scaling=place.scaling,
                work=folder / TRAINING,
                by_categories=folder / TRAINING / BY_CATEGORIES,
                name=f"encoder {name}",
                on_progress=place.on_progress,
            )
            shutil.rmtree(folder / "untrained")
        else:
            shutil.move(folder / "untrained", folder / "ready")

    # What is taken as it is does not depend on the catalog; asking for it again would.
    inputs = [train.digest, encoder, pretraining or "random", adaptation or "as it is", place.tree.hash]
    return folder / "ready", place.steps.run(f"encoder {name}", inputs, folder, make)

"""The sample as models read it: encoders that learn from no label, their features, titles and descriptions side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from prodcat.augmenting import write_augmented
from prodcat.crossing.config import CrossProfile
from prodcat.crossing.normalisation import by_platform
from prodcat.crossing.sample import Sample
from prodcat.encoders.distributed import embed
from prodcat.encoders.encoder import read_otherwise
from prodcat.encoders.features import FeatureSet, read
from prodcat.encoders.inputs import TextReading
from prodcat.errors import ConfigError
from prodcat.evaluation.cross_platform import Inputs
from prodcat.experts import names_of
from prodcat.labelled import Labelled
from prodcat.readying import Place, ready_encoder
from prodcat.run_folder import Progress, Steps
from prodcat.taxonomy import HeadLayout
from prodcat.training.encoders import EncoderTraining
from prodcat.training.in_memory import FusionData

# Behind an encoder's name: the same, reading descriptions; and reading titles as they stand, as what a person would try first does.
_TWIN, _PLAIN = "_description", "_plain"


@dataclass(frozen=True)
class Read:
    """The sample as models read it.

    Args:
        data: by titles (and images).
        by_description: the same products with their descriptions read in the place of titles; None if no encoder does.
        augmented: the products that are learned from, as another shop might show them (augmenting.py): their rows, int64 [k], and how they are read;
            None without augmentation.
        has: "text", "image" -> bool [n]; circular texts are not had.
        names: by description or not -> what the categories' names say of each product, float32 [n, C]; None without that expert.
        plain: feature set -> the vectors as they stand, float32 [n, d], where models read them otherwise; for baselines.
        texts: what the model of words reads of the n products' titles, then of their descriptions; None without one, and where a text is circular.
        fingerprints: of the towers, by feature set.
    """

    sample: Sample
    layout: HeadLayout
    reads: Mapping[str, Literal["text", "image"]]
    data: FusionData
    by_description: FusionData | None
    augmented: tuple[np.ndarray, FusionData] | None
    has: Mapping[str, np.ndarray]
    names: Mapping[bool, np.ndarray] | None
    plain: Mapping[str, np.ndarray]
    texts: tuple[str | None, ...]
    fingerprints: Mapping[str, str]

    def readable(self, inputs: Inputs) -> np.ndarray:
        """bool [n]: products that have all of these inputs."""
        found = np.ones(len(self.sample.keys), dtype=bool)
        for kind in inputs.split("+"):
            found &= self.has[kind]
        return found

    def shown(self, data: FusionData, inputs: Inputs) -> FusionData:
        """With these inputs only."""
        of = np.array([kind in inputs.split("+") for kind in self.reads.values()])
        return FusionData(data.vectors, data.present & of, data.targets)


def read_sample(sample: Sample, out: Path, profile: CrossProfile, on_progress: Progress) -> Read:
    """Encoders to OUT/encoders, features to OUT/features, unless they are there. Assumes a cluster is joined.

    Raises:
        ConfigError: an encoder that the profile does not have, or that would learn from labels, the left-out platform's among them.
    """
    folders = _encoders(sample, out, profile, on_progress)
    on_progress("features ...")

    def embedded(file: Path, encoders: Mapping[str, Path], folder: str) -> dict[str, FeatureSet]:
        return embed(
            [str(file)],
            encoders,
            out / folder,
            profile.embed,
            limits=profile.ingest.pictures.limits,
            on_progress=lambda name, done, to_do: on_progress(f"{folder} {name}: {done:,} of {to_do:,}"),
        )

    sets = embedded(sample.file, folders, "features")
    own = {name: found for name, found in sets.items() if not name.endswith((_TWIN, _PLAIN))}
    plain = {name: read(sets[name + _PLAIN], sample.keys)[0] for name in own if name + _PLAIN in sets}
    reads: dict[str, Literal["text", "image"]] = {name: found.reads for name, found in own.items()}
    data = _data(sample, own, reads)
    augmented = None
    if profile.augmentation is not None:
        file = out / "augmented.parquet"
        rows = np.flatnonzero(sample.learned)
        learned = Labelled([sample.keys[row] for row in rows], [None] * len(rows), sample.targets[rows])
        shown = write_augmented([str(sample.file)], learned, sample.tree, profile.augmentation, TextReading(), profile.ingest.pictures.limits, file)
        encoders = {name: folder for name, folder in folders.items() if not name.endswith((_TWIN, _PLAIN))}
        varied = embedded(file, encoders, "features_augmented")
        place = {key: row for row, key in enumerate(sample.keys)}
        rows = np.array([place[key] for key in shown.keys], dtype=np.int64)
        augmented = rows, _data(sample, varied, reads, rows)
    twins = {name: sets.get(name + _TWIN, found) for name, found in own.items()}
    by_description = _data(sample, twins, reads) if twins != own else None
    has: dict[str, np.ndarray] = {}
    for kind in ("text", "image"):
        columns = [kind == each for each in reads.values()]
        has[kind] = np.asarray((data.present & np.array(columns)).any(axis=1))
    fingerprints = {name: found.fingerprint for name, found in sets.items()}
    if profile.augmentation is not None:
        fingerprints["augmentation"] = profile.augmentation.model_dump_json()
    layout = HeadLayout(sample.tree)
    names = _names(layout, profile, {name: folder for name, folder in folders.items() if name in own}, data, by_description)
    if profile.cross_platform.platform_normalisation:
        # Baselines and names read the vectors as they are.
        plain = {**data.vectors, **plain}
        fingerprints["normalisation"] = "by platform"
        data, by_description = _normalised(data, sample.platforms), by_description and _normalised(by_description, sample.platforms)
        augmented = augmented and (augmented[0], _normalised(augmented[1], sample.platforms[augmented[0]]))
    return Read(sample, layout, reads, data, by_description, augmented, has, names, plain, _texts(sample, profile), fingerprints)


def _normalised(data: FusionData, platforms: np.ndarray) -> FusionData:
    vectors = {name: by_platform(values, data.present[:, column], platforms) for column, (name, values) in enumerate(data.vectors.items())}
    return FusionData(vectors, data.present, data.targets)


def _names(
    layout: HeadLayout, profile: CrossProfile, encoders: Mapping[str, Path], data: FusionData, by_description: FusionData | None
) -> dict[bool, np.ndarray] | None:
    names, modality = names_of(profile.stage_two, encoders, layout)
    if names is None or modality is None:
        return None
    column = list(data.vectors).index(modality)
    found = {}
    for view, part in ((False, data), (True, by_description or data)):
        found[view] = names.read(part.vectors[modality], layout) * part.present[:, [column]]
    return found


def _texts(sample: Sample, profile: CrossProfile) -> tuple[str | None, ...]:
    reading = profile.stage_two.words.text if profile.stage_two.words is not None else TextReading()
    rows = list(zip(sample.titles, sample.descriptions, sample.languages, sample.texts_count.tolist(), strict=True))
    titles = [reading.of(title, description, None, language) if counts else None for title, description, language, counts in rows]
    described = [reading.of(description, None, None, language) if counts else None for _, description, language, counts in rows]
    return (*titles, *described)


def _encoders(sample: Sample, out: Path, profile: CrossProfile, on_progress: Progress) -> dict[str, Path]:
    config = profile.cross_platform
    chosen = config.encoders or tuple(name for name, encoder in profile.encoders.items() if encoder.family != "clip")
    if unknown := sorted(set(chosen) - set(profile.encoders)):
        raise ConfigError(f"cross_platform.encoders: the profile has no encoder {unknown[0]!r}; it has {', '.join(profile.encoders)}")
    rows = np.flatnonzero(sample.learned)
    texts = [sample.titles[row] or sample.descriptions[row] for row in rows]
    train = Labelled([sample.keys[row] for row in rows], texts, sample.targets[rows], sample.digest)
    steps = Steps(out, on_progress)
    place = Place(out, [str(sample.file)], sample.tree, profile.ingest.pictures.limits, profile.scaling, steps, on_progress)
    folders: dict[str, Path] = {}
    for name in chosen:
        encoder = profile.encoders[name]
        if encoder.family == "vit" and encoder.source == "scratch":
            raise ConfigError(
                f"cross_platform: the image encoder {name!r} would be trained from scratch by labels, the left-out platform's among them; name "
                f"weights (--set encoders.{name}.source=FOLDER), or leave it out (--set cross_platform.encoders=[...])"
            )
        training = profile.pretraining.get(name, EncoderTraining())
        # From texts and images alone: a label of the platform that is left out must not be learned on the way.
        unlabelled = training.model_copy(update={"categories": None}) if training is not None and encoder.family != "vit" else None
        folders[name], key = ready_encoder(name, encoder, unlabelled, None, train, place)
        if config.descriptions and encoder.family == "roberta" and encoder.fields == ("title",):
            twin = folders[name + _TWIN] = out / "encoders" / f"{name}{_TWIN}"
            steps.run(f"encoder {twin.name}", [key], twin, partial(read_otherwise, folders[name], twin, {"fields": ("description",)}))
        if config.baselines and encoder.family == "roberta" and (encoder.glossary != "off" or encoder.synonyms):
            twin = folders[name + _PLAIN] = out / "encoders" / f"{name}{_PLAIN}"
            steps.run(f"encoder {twin.name}", [key], twin, partial(read_otherwise, folders[name], twin, {"glossary": "off", "synonyms": False}))
    return folders


def _data(sample: Sample, sets: Mapping[str, FeatureSet], reads: Mapping[str, str], rows: np.ndarray | None = None) -> FusionData:
    """Args: rows: int64 [k]; None: all."""
    chosen = np.arange(len(sample.keys)) if rows is None else rows
    keys = [sample.keys[row] for row in chosen.tolist()]
    vectors, present = {}, np.zeros((len(keys), len(sets)), dtype=bool)
    for column, (name, found) in enumerate(sets.items()):
        vectors[name], present[:, column] = read(found, keys)
        if reads[name] == "text":
            present[:, column] &= sample.texts_count[chosen]
    return FusionData(vectors, present, sample.targets[chosen])

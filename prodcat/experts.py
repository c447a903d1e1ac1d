"""What stands beside stage two's fusion: the model of words, and the names of the categories. Made once a run; knows no cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prodcat.encoders.encoder import load
from prodcat.errors import ConfigError, TrainingError
from prodcat.labelled import Labelled, texts_of
from prodcat.model.names import Names
from prodcat.model.words import WORDS, Words
from prodcat.readying import from_elsewhere
from prodcat.run_folder import Progress, Steps
from prodcat.taxonomy import HeadLayout
from prodcat.training.fusion_stage import FusionStageConfig
from prodcat.training.words import fit_words


@dataclass(frozen=True)
class Experts:
    """Args: modality: whose vectors the names are held against; None without names."""

    words: Words | None
    names: Names | None
    modality: str | None

    def beside(
        self,
        logits: np.ndarray,
        texts: Sequence[str | None],
        vectors: Mapping[str, np.ndarray],
        present: Mapping[str, np.ndarray],
        layout: HeadLayout,
    ) -> np.ndarray:
        """The fusion's logits with theirs, as model/fusions/expert.py pools them: float32 [n, C].

        Args:
            logits: float32 [n, C].
            texts: n, as the model of words reads them.
            vectors, present: modality -> float32 [n, d], bool [n].
        """
        found, voices = logits.copy(), np.ones((len(logits), 1), dtype=np.float32)
        if self.words is not None:
            here = np.array([bool(text) for text in texts], dtype=bool)
            found[here] += self.words.read([text for text in texts if text], layout)
            voices[here] += 1
        if self.names is not None and self.modality is not None:
            here = present[self.modality]
            found[here] += self.names.read(vectors[self.modality][here], layout)
            voices[here] += 1
        return np.asarray(found / voices)

    def save(self, folder: Path) -> None:
        for part in (self.words, self.names):
            if part is not None:
                part.save(folder)


def names_of(config: FusionStageConfig, encoders: Mapping[str, Path], layout: HeadLayout) -> tuple[Names | None, str | None]:
    """The names' expert and its modality; None where the profile wants none, where stage two does not read that encoder, and where it was
    trained from scratch and knows no meanings.

    Args:
        encoders: name -> folder, of those that stage two reads.

    Raises:
        ConfigError: an encoder that does not read texts alone.
    """
    name = config.names.encoder if config.names is not None else None
    if config.names is None or name is None or name not in encoders or not from_elsewhere(encoders[name]):
        return None, None
    towers = load(encoders[name]).towers
    if list(towers) != ["text"]:
        raise ConfigError(f"stage_two.names.encoder: {name!r} reads {' and '.join(towers)}; name an encoder that reads texts alone")
    tower = towers["text"]
    # One by one, so that no padding moves a name's vector.
    return Names.of(lambda texts: np.concatenate([tower.encode(tower.prepare([text])) for text in texts]), layout, config.names), name


def ready_experts(
    config: FusionStageConfig,
    train: Labelled,
    files: Sequence[str],
    encoders: Mapping[str, Path],
    layout: HeadLayout,
    out: Path,
    seed: int,
    steps: Steps,
    inputs: Sequence[object],
    on_progress: Progress,
) -> tuple[Experts, str]:
    """Fitted to OUT/words unless they have been -> experts, and the key of the step.

    Args:
        train: products the words are learned from; files: Parquet files of PRODUCTS that hold them.
        inputs: what decides the training products.
    """
    names, modality = names_of(config, encoders, layout)
    settings = config.words
    if settings is None:
        return Experts(None, names, modality), ""

    folder = out / "words"

    def make() -> None:
        texts = texts_of(files, train.keys, settings.text)
        rows = [row for row, text in enumerate(texts) if text]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = fit_words([texts[row] or "" for row in rows], layout.end_targets(train.targets[rows]), layout, settings, seed)
        except TrainingError as error:
            # A catalog of images alone, or of one category, has a model all the same.
            on_progress(f"  no model of words: {error}")
        else:
            found.save(folder)

    key = steps.run("words", [*inputs, settings, seed], folder, make)
    return Experts(Words.load(folder) if (folder / WORDS).is_file() else None, names, modality), key

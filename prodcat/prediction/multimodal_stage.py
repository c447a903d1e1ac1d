"""Stage two: products (text, image, CLIP) to node logits with torch. Knows no gate and no tree decoding.

In three steps, so that decoding can stand on other machines than the model: prepare (on CPUs, preparing.py), infer (on the device), and what the
cascade does with the logits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file
from torch import nn

from prodcat.config import read_yaml, validate
from prodcat.contracts import Product
from prodcat.decoding import DecoderName, averaged
from prodcat.encoders.encoder import Encoder, Tower, load
from prodcat.encoders.features import set_name
from prodcat.errors import BundleError
from prodcat.model.correction import of_description
from prodcat.model.fusion import FusionConfig, Modality
from prodcat.model.fusions.ensemble import members_of
from prodcat.model.fusions.expert import WithExperts
from prodcat.model.fusions.registry import build
from prodcat.model.names import Names
from prodcat.prediction.cascade import StageTwoOutput
from prodcat.prediction.preparing import SETTINGS, STAGE_ONE_VECTOR, WORDS, InputSettings, Preparation, Prepared
from prodcat.taxonomy import HasLayout

WEIGHTS, STATISTICS = "model.safetensors", "modalities.safetensors"
# The expert that reads the category names.
NAMES = "names"
# Products run through the encoders together; bounds memory, changes no answer.
CHUNK = 64


@dataclass(frozen=True)
class Readings:
    """What stage two makes of n products before it fuses anything.

    Args:
        features, present: as `encode` gives them.
        again: the rows of products that are read a second time, int64 [k], and what `encode` gives of that; None where there are none.
    """

    features: dict[str, np.ndarray]
    present: np.ndarray
    again: tuple[np.ndarray, dict[str, np.ndarray], np.ndarray] | None

    @classmethod
    def joined(cls, parts: Sequence["Readings"]) -> "Readings":
        """Several batches as one, in order."""
        starts = np.cumsum([0, *(len(part.present) for part in parts)])
        features = {name: np.concatenate([part.features[name] for part in parts]) for name in parts[0].features}
        present = np.concatenate([part.present for part in parts])
        twice = [(start + part.again[0], *part.again[1:]) for start, part in zip(starts, parts, strict=False) if part.again is not None]
        if not twice:
            return cls(features, present, None)
        vectors = {name: np.concatenate([each[name] for _, each, _ in twice]) for name in features}
        return cls(features, present, (np.concatenate([rows for rows, _, _ in twice]), vectors, np.concatenate([there for _, _, there in twice])))

    def rows(self, chosen: np.ndarray) -> "Readings":
        """Args: chosen: row numbers, each once."""
        features = {name: values[chosen] for name, values in self.features.items()}
        if self.again is None:
            return Readings(features, self.present[chosen], None)
        rows, vectors, there = self.again
        place = np.full(len(self.present), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        own = np.flatnonzero(place[chosen] >= 0)
        twice = place[chosen][own]
        return Readings(features, self.present[chosen], (own, {name: values[twice] for name, values in vectors.items()}, there[twice]))

    def with_words(self, said: np.ndarray, of_descriptions: np.ndarray | None) -> "Readings":
        """Args: said: float32 [n, C], what the model of words now says of each; of_descriptions: the same of descriptions."""
        again = self.again
        if again is not None and of_descriptions is not None:
            again = again[0], {**again[1], WORDS: of_descriptions[again[0]]}, again[2]
        return Readings({**self.features, WORDS: said}, self.present, again)


class MultimodalStageSettings(InputSettings):
    """Written by training/fusion_stage.py."""

    fusion: FusionConfig
    members: int = 1
    names: str | None = Field(None, description="the modality whose vectors are held against those of the category names; null: none")


def encoder_towers(encoders: Mapping[str, Encoder]) -> dict[str, tuple[str, Tower]]:
    """Feature set name -> (encoder name, tower): NAME for an encoder with one tower, else NAME_image and NAME_text."""
    towers: dict[str, tuple[str, Tower]] = {}
    for name, encoder in encoders.items():
        for kind, tower in encoder.towers.items():
            towers[set_name(name, kind, len(encoder.towers))] = (name, tower)
    return towers


class MultimodalStage:
    """Encoders and fusion of a bundle.

    Args:
        folder: the bundle's.
        tree: what the fusion's logits have the columns of.
        fingerprints: modality -> fingerprint of the tower the fusion was trained on.
        decoder: the cascade's.

    Raises:
        BundleError: an encoder in the bundle has another fingerprint, or the fusion's weights are not of this shape.
    """

    def __init__(
        self, folder: Path, tree: HasLayout, fingerprints: Mapping[str, str], *, decoder: DecoderName = "greedy", device: str = "cpu"
    ) -> None:
        place = folder / "stage_two"
        self.settings = validate(MultimodalStageSettings, read_yaml(place / SETTINGS), str(place / SETTINGS))
        self.preparation = Preparation(folder, tree.layout)
        encoders = {
            name: load(folder / "encoders" / name, device=device)
            for name in sorted({m.encoder for m in self.settings.modalities} - {STAGE_ONE_VECTOR})
        }
        available = {name: tower for name, (_, tower) in encoder_towers(encoders).items()}
        self._towers: dict[str, Tower | None] = {}
        for modality in self.settings.modalities:
            self._towers[modality.name] = tower = available.get(modality.name)
            fingerprint = tower.fingerprint if tower else self.preparation.stage_one_fingerprint
            if fingerprint != fingerprints.get(modality.name):
                raise BundleError(
                    f"{folder / 'encoders' / modality.encoder}: its {modality.tower} tower has fingerprint {fingerprint[:16]}, "
                    f"but stage two was trained on {str(fingerprints.get(modality.name))[:16]}; rebuild the bundle or bring back the encoder"
                )
        self._device, self._layout, self._decoder = torch.device(device), tree.layout, decoder
        self._statistics = load_arrays(place / STATISTICS)
        self._model = build(modalities(self.settings, self._towers, self._statistics), tree, self.settings.fusion, self.settings.members)
        try:
            self._model.load_state_dict(load_file(place / WEIGHTS))
        except RuntimeError as error:
            raise BundleError(
                f"{place / WEIGHTS}: not the weights of a {self.settings.fusion.kind} fusion with {len(tree)} logits ({error}); rebuild the bundle"
            ) from error
        self._names = Names.load(place) if self.settings.names is not None else None
        if self.experts:
            self._model = WithExperts(self._model, self.experts)
        self._model.to(self._device).eval()

    def read(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> StageTwoOutput:
        """Args: vectors: stage one's of the products' titles, where they are at hand (Preparation.prepare)."""
        prepared = self.prepare(products, vectors)
        return StageTwoOutput(self.infer(prepared), prepared.readable, prepared.image_problems)

    def prepare(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> Prepared:
        """On the CPU: tokens and pixels of what each product has."""
        return self.preparation.prepare(products, vectors)

    @property
    def experts(self) -> tuple[str, ...]:
        """What stands beside the fusion."""
        return (*((WORDS,) if self.settings.words is not None else ()), *((NAMES,) if self.settings.names is not None else ()))

    @property
    def inputs(self) -> tuple[str, ...]:
        """What `encode` gives, in the order of its columns."""
        return (*(modality.name for modality in self.settings.modalities), *self.experts)

    def infer(self, prepared: Prepared) -> np.ndarray:
        """On the device -> logits float32 [n, C]; of products that are not readable they say nothing."""
        readings = self.readings(prepared)
        logits = self.answered(readings)
        if prepared.corrected is not None:
            rows, codes, from_words = prepared.corrected
            seen = self.seen(readings)
            for code in np.unique(codes).tolist():
                places = np.flatnonzero(codes == code)
                own = rows[places]
                vectors, present = ({name: both[which][own] for name, both in seen.items()} for which in (0, 1))
                logits[own] = self.preparation.corrections[code].apply(logits[own], from_words[places], vectors, present)
        return logits

    def readings(self, prepared: Prepared) -> Readings:
        """On the device: all that the fusion and its experts read."""
        features, present = self.encode(prepared)
        if prepared.described is None:
            return Readings(features, present, None)
        rows, twins = prepared.described
        again, there = self.encode(twins)
        for column, (name, tower) in enumerate(self._towers.items()):
            if tower is not None and tower.reads == "image":
                again[name], there[:, column] = features[name][rows], present[rows, column]
        return Readings(features, present, (rows, again, there))

    def answered(self, readings: Readings) -> np.ndarray:
        """On the device -> logits float32 [n, C], before any correction."""
        logits = self.fuse(readings.features, readings.present)
        if readings.again is not None:
            rows, again, there = readings.again
            logits[rows] = averaged([logits[rows], self.fuse(again, there)], self._layout, self._decoder)
        return logits

    def seen(self, readings: Readings) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What a correction reads of products beside words: modality -> float32 [n, d], zeros where a product lacks it, and bool [n]. Texts of
        descriptions that are read beside titles are modalities of their own."""
        features, present = readings.features, readings.present
        found = {name: (features[name], present[:, column]) for column, name in enumerate(self._towers)}
        if self.settings.descriptions:
            for column, (name, tower) in enumerate(self._towers.items()):
                if tower is None or tower.reads == "text":
                    vectors, here = np.zeros_like(features[name]), np.zeros(len(present), dtype=bool)
                    if readings.again is not None:
                        rows, again, there = readings.again
                        vectors[rows], here[rows] = again[name], there[:, column]
                    found[of_description(name)] = vectors, here
        return found

    @property
    def centres(self) -> dict[str, np.ndarray]:
        """The mean in training of what `seen` gives: modality -> float32 [d]."""
        own = {name: self._statistics[f"{name}.mean"] for name in self._towers}
        return {**own, **{of_description(name): centre for name, centre in own.items()}}

    def encode(self, prepared: Prepared) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Modality -> float32 [n, d], zeros where a product lacks it, and bool [n, M] in the order of the names."""
        features, present = {}, np.zeros((prepared.size, len(self.inputs)), dtype=bool)
        for column, modality in enumerate(self.settings.modalities):
            name, tower = modality.name, self._towers[modality.name]
            features[name] = np.zeros((prepared.size, modality.dim), dtype=np.float32)
            if name in prepared.inputs:
                rows, inputs = prepared.inputs[name]
                features[name][rows] = inputs if tower is None else _encoded(tower, inputs, self.preparation.pad(name))
                present[rows, column] = True
        for column, name in enumerate(self.experts, len(self._towers)):
            features[name] = np.zeros((prepared.size, len(self._layout)), dtype=np.float32)
            if name == WORDS and WORDS in prepared.inputs:
                rows, logits = prepared.inputs[WORDS]
                features[WORDS][rows], present[rows, column] = logits, True
            elif name == NAMES and self._names is not None and self.settings.names is not None:
                rows = np.flatnonzero(present[:, list(self._towers).index(self.settings.names)])
                features[NAMES][rows], present[rows, column] = self._names.read(features[self.settings.names][rows], self._layout), True
        return features, present

    def fuse(self, features: Mapping[str, np.ndarray], present: np.ndarray) -> np.ndarray:
        """What `encode` gave, or less of it -> logits float32 [n, N]."""
        return fused_logits(self._model, features, present, self._device)


def _encoded(tower: Tower, inputs: np.ndarray, pad: int | None) -> np.ndarray:
    """In batches of CHUNK; texts of like length together, so that a short one is not padded to the longest."""
    order = np.arange(len(inputs))
    lengths = None
    if pad is not None:
        lengths = (inputs != pad).sum(axis=1)
        order = np.argsort(lengths, kind="stable")
    vectors = np.empty((len(inputs), tower.dim), dtype=np.float32)
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        vectors[rows] = tower.encode(inputs[rows] if lengths is None else inputs[rows, : lengths[rows].max()])
    return vectors


def modalities(settings: MultimodalStageSettings, towers: Mapping[str, Tower | None], statistics: Mapping[str, np.ndarray]) -> list[Modality]:
    """The fusion's inputs, with the statistics of the training set they are standardised with."""
    # Stage one's vector, which is no tower's, is one of the text.
    reads = {name: tower.reads if tower else "text" for name, tower in towers.items()}
    return [Modality(m.name, reads[m.name], m.dim, statistics[f"{m.name}.mean"], statistics[f"{m.name}.std"]) for m in settings.modalities]


def save_statistics(path: Path, given: Sequence[Modality]) -> None:
    save_arrays({f"{m.name}.{kind}": np.asarray(getattr(m, kind), np.float32) for m in given for kind in ("mean", "std")}, path)


@torch.inference_mode()
def fused_logits(model: nn.Module, features: Mapping[str, np.ndarray], present: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """float32 [n, d_m] a modality and bool [n, M] -> logits float32 [n, C]."""
    rows = []
    # At least one batch, if of no product: the model knows how many categories there are.
    for start in range(0, max(1, len(present)), CHUNK):
        part = slice(start, start + CHUNK)
        vectors = {name: torch.from_numpy(values[part]).to(device) for name, values in features.items()}
        rows.append(model(vectors, torch.from_numpy(present[part]).to(device)).logits.float().cpu().numpy())
    return np.concatenate(rows)


def member_logits(model: nn.Module, features: Mapping[str, np.ndarray], present: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """As fused_logits, of every member by itself: float32 [K, n, N]; K is 1 where stage two is no ensemble."""
    return np.stack([fused_logits(member, features, present, device) for member in members_of(model)])

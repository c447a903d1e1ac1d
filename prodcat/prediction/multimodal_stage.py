"""Stage two: products (text, image, CLIP) to node logits with torch. Knows no gate and no tree decoding.

In three steps, so that decoding can stand on other machines than the model: prepare (CPU: text to tokens, bytes to uint8 pixels), infer (device), and
what the cascade does with the logits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file
from torch import nn

from prodcat.config import Config, read_yaml, validate
from prodcat.contracts import Product
from prodcat.encoders.encoder import Encoder, Tower, load
from prodcat.encoders.inputs import product_text
from prodcat.errors import BundleError, ImageError
from prodcat.images import ImageLimits, decode
from prodcat.model.fusion import FusionConfig, Modality
from prodcat.model.fusions.ensemble import members_of
from prodcat.model.fusions.registry import build
from prodcat.prediction.cascade import StageTwoOutput
from prodcat.prediction.text_stage import TextStage
from prodcat.taxonomy import HasLayout

WEIGHTS, STATISTICS, SETTINGS = "model.safetensors", "modalities.safetensors", "multimodal_stage.yaml"
# Products run through the encoders together; bounds memory, changes no answer.
CHUNK = 64
# The modality that is stage one's own vector and no encoder of its own.
STAGE_ONE_VECTOR = "stage_one"


class ModalitySettings(Config):
    """Which tower of which encoder feeds a modality of the fusion."""

    name: str
    encoder: str
    tower: str
    dim: int


class MultimodalStageSettings(Config):
    """Written by training/fusion_stage.py."""

    modalities: tuple[ModalitySettings, ...]
    fusion: FusionConfig
    members: int = 1
    image_limits: ImageLimits = ImageLimits()


def encoder_towers(encoders: Mapping[str, Encoder]) -> dict[str, tuple[str, Tower]]:
    """Feature set name -> (encoder name, tower): NAME for an encoder with one tower, else NAME_image and NAME_text."""
    towers: dict[str, tuple[str, Tower]] = {}
    for name, encoder in encoders.items():
        for kind, tower in encoder.towers.items():
            towers[name if len(encoder.towers) == 1 else f"{name}_{kind}"] = (name, tower)
    return towers


@dataclass(frozen=True)
class Prepared:
    """What the model reads of n products: per modality the rows that have it and their prepared inputs.

    Args:
        inputs: modality -> (rows int [m], prepared array [m, ...]: token ids or uint8 pixels).
        image_problems: n entries, (reason, detail) or None.
    """

    size: int
    inputs: dict[str, tuple[np.ndarray, np.ndarray]]
    image_problems: tuple[tuple[str, str] | None, ...]


class MultimodalStage:
    """Encoders and fusion of a bundle.

    Args:
        folder: the bundle's.
        tree: what the fusion's logits have the columns of.
        fingerprints: modality -> fingerprint of the tower the fusion was trained on.

    Raises:
        BundleError: an encoder in the bundle has another fingerprint, or the fusion's weights are not of this shape.
    """

    def __init__(self, folder: Path, tree: HasLayout, fingerprints: Mapping[str, str], *, device: str = "cpu") -> None:
        place = folder / "stage_two"
        self.settings = validate(MultimodalStageSettings, read_yaml(place / SETTINGS), str(place / SETTINGS))
        names = sorted({modality.encoder for modality in self.settings.modalities} - {STAGE_ONE_VECTOR})
        encoders = {name: load(folder / "encoders" / name, device=device) for name in names}
        available = encoder_towers(encoders)
        if any(modality.encoder == STAGE_ONE_VECTOR for modality in self.settings.modalities):
            available[STAGE_ONE_VECTOR] = (STAGE_ONE_VECTOR, TextStage(folder / "stage_one").tower())
        self._towers: dict[str, Tower] = {}
        for modality in self.settings.modalities:
            _, tower = available[modality.name]
            if tower.fingerprint != fingerprints.get(modality.name):
                raise BundleError(
                    f"{folder / 'encoders' / modality.encoder}: its {modality.tower} tower has fingerprint {tower.fingerprint[:16]}, "
                    f"but stage two was trained on {str(fingerprints.get(modality.name))[:16]}; rebuild the bundle or bring back the encoder"
                )
            self._towers[modality.name] = tower
        self._device = torch.device(device)
        statistics = load_arrays(place / STATISTICS)
        self._model = build(modalities(self.settings, self._towers, statistics), tree, self.settings.fusion, self.settings.members)
        try:
            self._model.load_state_dict(load_file(place / WEIGHTS))
        except RuntimeError as error:
            raise BundleError(
                f"{place / WEIGHTS}: not the weights of a {self.settings.fusion.kind} fusion with {len(tree)} logits ({error}); rebuild the bundle"
            ) from error
        self._model.to(self._device).eval()

    def read(self, products: Sequence[Product]) -> StageTwoOutput:
        prepared = self.prepare(products)
        logits, readable = self.infer(prepared)
        return StageTwoOutput(logits, readable, prepared.image_problems)

    def prepare(self, products: Sequence[Product]) -> Prepared:
        """On the CPU: tokens and pixels of what each product has."""
        problems: list[tuple[str, str] | None] = [
            (p.image_problem, "refused when the product was ingested") if p.image is None and p.image_problem else None for p in products
        ]
        inputs = {}
        # Towers that want the same size of image share its decoding.
        images: dict[int | None, list[Any]] = {}
        for name, tower in self._towers.items():
            if tower.reads == "text":
                items: list[Any] = [product_text(p.title, p.description, p.brand, tower.fields) for p in products]
            else:
                if tower.at_least not in images:
                    images[tower.at_least] = [self._image(product, row, problems, tower.at_least) for row, product in enumerate(products)]
                items = images[tower.at_least]
            rows = np.array([row for row, item in enumerate(items) if item is not None], dtype=np.int64)
            if len(rows):
                inputs[name] = (rows, tower.prepare([items[row] for row in rows]))
        return Prepared(len(products), inputs, tuple(problems))

    def infer(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        """On the device -> logits float32 [n, C] and readable bool [n]."""
        features, present = self.encode(prepared)
        return self.fuse(features, present), np.asarray(present.any(axis=1))

    def encode(self, prepared: Prepared) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Modality -> float32 [n, d], zeros where a product lacks it, and bool [n, M] in the order of the names."""
        features, present = {}, np.zeros((prepared.size, len(self._towers)), dtype=bool)
        for column, (name, tower) in enumerate(self._towers.items()):
            features[name] = np.zeros((prepared.size, tower.dim), dtype=np.float32)
            if name in prepared.inputs:
                rows, inputs = prepared.inputs[name]
                for start in range(0, len(rows), CHUNK):
                    features[name][rows[start : start + CHUNK]] = tower.encode(inputs[start : start + CHUNK])
                present[rows, column] = True
        return features, present

    def fuse(self, features: Mapping[str, np.ndarray], present: np.ndarray) -> np.ndarray:
        """What `encode` gave, or less of it -> logits float32 [n, N]."""
        return fused_logits(self._model, features, present, self._device)

    def _image(self, product: Product, row: int, problems: list[tuple[str, str] | None], at_least: int | None) -> Any:
        if product.image is None:
            return None
        try:
            return decode(product.image, self.settings.image_limits, at_least=at_least)
        except ImageError as error:
            problems[row] = (error.reason, error.detail)
            return None


def modalities(settings: MultimodalStageSettings, towers: Mapping[str, Tower], statistics: Mapping[str, np.ndarray]) -> list[Modality]:
    """The fusion's inputs, with the statistics of the training set they are standardised with."""
    return [Modality(m.name, towers[m.name].reads, m.dim, statistics[f"{m.name}.mean"], statistics[f"{m.name}.std"]) for m in settings.modalities]


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

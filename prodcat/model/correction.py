"""What some labelled products of a new platform change of stage two's answers to that platform: a linear correction of its logits, fitted in seconds,
on top of a model of words that is adjusted to the platform (training/words.py). Knows no catalog and no bundle.

    z' = (z / softness + W x) * scale

x are the terms of the texts that the model of words knows, and the vectors stage two reads, less their mean in training, each of length 1: frozen
encoders' vectors share most of their direction, which would be the constant that there is none of. A few labelled products say little of how often
each category is, and a constant would hold what they lack to be rare. Ours; a residual fit on top of models that stay as they are.

Shapes: n products, V terms, d_m dimensions of modality m, C columns (taxonomy.HeadLayout).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from prodcat.config import Config
from prodcat.decoding import log_conditionals
from prodcat.model.words import Adjustment
from prodcat.taxonomy import HeadLayout

# Before the names of modalities in a file, and before what the model of words is adjusted by.
_MODALITY, _CENTRE, _ADJUSTMENT = "modality.", "centre.", "adjustment."


def of_description(modality: str) -> str:
    """The name of a text modality's vectors of descriptions, where those are read beside titles: they have weights of their own."""
    return f"{modality} of description"


class CorrectionConfig(Config):
    """How far labelled products of a platform may move its answers. Defaults are ours, chosen by leaving shops out (docs/log.md)."""

    softness: float = Field(1.0, ge=1, description="the models' logits are divided by this before they are corrected")
    penalty: float = Field(
        10.0, gt=0, description="of the squared weights, by the number of labelled products: the larger, the less a product says of others"
    )
    iterations: int = Field(60, ge=1, description="steps of L-BFGS, at most")
    folds: int = Field(5, ge=2, description="of the cross-validation that scales the corrected logits, so that confidences mean something")


@dataclass(frozen=True)
class Evidence:
    """n products as a correction reads them.

    Args:
        logits: float [n, C], of the models.
        words: float [n, V] of the model of words' terms, [n, 2 V] where descriptions are read beside titles; None without one.
        vectors: modality -> float32 [n, d_m]; present: modality -> bool [n].
        centres: modality -> float32 [d_m], the mean of its vectors in training.
    """

    logits: np.ndarray
    words: csr_matrix | None
    vectors: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]
    centres: Mapping[str, np.ndarray]

    def rows(self, chosen: np.ndarray) -> "Evidence":
        """Args: chosen: row numbers."""
        return Evidence(
            self.logits[chosen],
            None if self.words is None else self.words[chosen],
            {name: values[chosen] for name, values in self.vectors.items()},
            {name: here[chosen] for name, here in self.present.items()},
            self.centres,
        )

    def units(self) -> dict[str, np.ndarray]:
        """Modality -> float32 [n, d_m], centred, of length 1; zeros where a product lacks it."""
        return {name: unit(values - self.centres[name]) * self.present[name][:, None] for name, values in self.vectors.items()}


@dataclass(frozen=True)
class Correction:
    """A fitted one.

    Args:
        terms: int [t], rows of the vocabulary that labelled products have; weights: float32 [t, C].
        by_modality: modality -> float32 [d_m, C]; centres: modality -> float32 [d_m], as in Evidence.
        scale: float32 [C].
        adjustment: of the model of words, made before the logits that are corrected; None where there is none.
    """

    softness: float
    scale: np.ndarray
    terms: np.ndarray
    weights: np.ndarray
    by_modality: Mapping[str, np.ndarray]
    centres: Mapping[str, np.ndarray]
    adjustment: Adjustment | None = None

    def save(self, file: Path) -> None:
        """One safetensors file."""
        arrays: dict[str, np.ndarray] = {"terms": self.terms, "weights": self.weights, "scale": self.scale}
        arrays["softness"] = np.array([self.softness], dtype=np.float32)
        if self.adjustment is not None:
            arrays.update({f"{_ADJUSTMENT}{name}": values for name, values in vars(self.adjustment).items()})
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays.update({f"{_MODALITY}{name}": values for name, values in self.by_modality.items()})
        arrays.update({f"{_CENTRE}{name}": values for name, values in self.centres.items()})
        save_file(arrays, file)

    @classmethod
    def load(cls, file: Path) -> "Correction":
        found = load_file(file)
        by_modality, centres, parts = (
            {name.removeprefix(prefix): values for name, values in found.items() if name.startswith(prefix)}
            for prefix in (_MODALITY, _CENTRE, _ADJUSTMENT)
        )
        adjustment = Adjustment(**parts) if parts else None
        return cls(float(found["softness"][0]), found["scale"], found["terms"], found["weights"], by_modality, centres, adjustment)

    def from_words(self, words: csr_matrix) -> np.ndarray:
        """float [n, V] -> its part of the correction, float32 [n, C]."""
        return np.asarray(words[:, self.terms] @ self.weights, dtype=np.float32)

    def apply(
        self, logits: np.ndarray, from_words: np.ndarray | None, vectors: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Args: vectors, present: as in Evidence, of some or all modalities. Returns: float32 [n, C]."""
        found = logits / self.softness
        if from_words is not None:
            found = found + from_words
        for name, weights in self.by_modality.items():
            if name in vectors:
                found = found + (unit(vectors[name] - self.centres[name]) * present[name][:, None]) @ weights
        return np.asarray(found * self.scale, dtype=np.float32)

    def correct(self, evidence: Evidence) -> np.ndarray:
        """float32 [n, C]."""
        from_words = None if evidence.words is None else self.from_words(evidence.words)
        return self.apply(evidence.logits, from_words, evidence.vectors, evidence.present)


def unit(vectors: np.ndarray) -> np.ndarray:
    """float [n, d] -> the same, of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def fit_correction(
    evidence: Evidence, targets: np.ndarray, layout: HeadLayout, config: CorrectionConfig, seed: int, scaled: bool = True
) -> Correction:
    """Regularised multinomial regression at every group of siblings, with the softened logits as its offset.

    Args:
        evidence: n labelled products.
        targets: int [n, D] columns (HeadLayout.end_targets), -1 where unlabelled.
        seed: of the folds.
        scaled: softened by cross-validation, which takes most of the time: for confidences, where a model's own are too high.
    """
    # Matrices so small are multiplied many times slower by two threads than by one (docs/log.md).
    with threadpool_limits(1):
        kernel, soft = _kernel(evidence), evidence.logits / config.softness
        own = np.random.default_rng(seed).permutation(len(targets)) % config.folds
        scale = 1.0
        if scaled and len(targets) >= 2 * config.folds:
            held = np.zeros_like(soft)
            for fold in range(config.folds):
                rest, out = np.flatnonzero(own != fold), np.flatnonzero(own == fold)
                held[out] = soft[out] + kernel[np.ix_(out, rest)] @ _dual(kernel[np.ix_(rest, rest)], soft[rest], targets[rest], layout, config)
            scale = _scale(held, targets, layout)
        dual = _dual(kernel, soft, targets, layout, config)
    terms, weights = np.zeros(0, dtype=np.int64), np.zeros((0, len(layout)), dtype=np.float32)
    if evidence.words is not None:
        terms = np.unique(evidence.words.indices).astype(np.int64)
        weights = np.asarray(evidence.words[:, terms].T @ dual, dtype=np.float32)
    return Correction(
        config.softness,
        np.full(len(layout), scale, dtype=np.float32),
        terms,
        weights,
        {name: np.asarray(values.T @ dual, dtype=np.float32) for name, values in evidence.units().items()},
        {name: np.asarray(evidence.centres[name], dtype=np.float32) for name in evidence.vectors},
    )


def _kernel(evidence: Evidence) -> np.ndarray:
    """float64 [n, n]: products of what the correction reads of each pair."""
    found = np.zeros((len(evidence.logits),) * 2)
    if evidence.words is not None:
        found += (evidence.words @ evidence.words.T).toarray()
    for values in evidence.units().values():
        found += values @ values.T
    return found


def _dual(kernel: np.ndarray, soft: np.ndarray, targets: np.ndarray, layout: HeadLayout, config: CorrectionConfig) -> np.ndarray:
    """float64 [n, C] A, so that W = X' A: the penalised negative log likelihood of the labelled paths is least."""
    from scipy.optimize import minimize

    shape = soft.shape
    labelled, penalty = targets >= 0, config.penalty / len(targets)
    rows = np.nonzero(labelled)[0]
    columns = targets[labelled]
    # Softmax in every group of siblings that lies on a product's path, and in no other.
    asked = np.zeros((len(targets), int(layout.groups.max()) + 1), dtype=bool)
    asked[rows, layout.groups[columns]] = True
    asked_columns = asked[:, layout.groups]
    hits = np.zeros(shape)
    hits[rows, columns] = 1.0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        dual = flat.reshape(shape)
        added = kernel @ dual
        log_p = log_conditionals(soft + added, layout)
        value = -float(log_p[rows, columns].sum()) + penalty / 2 * float((dual * added).sum())
        slope = np.where(asked_columns, np.exp(log_p), 0.0) - hits
        return value, (kernel @ (slope + penalty * dual)).ravel()

    found = minimize(loss, np.zeros(soft.size), jac=True, method="L-BFGS-B", options={"maxiter": config.iterations})
    return np.asarray(found.x.reshape(shape))


def _scale(logits: np.ndarray, targets: np.ndarray, layout: HeadLayout) -> float:
    """The factor, 1 at most, under which products that were not fitted to are likeliest.

    Never sharper: what is sharpened is decoded level by level rather than jointly, and answered worse (docs/log.md).
    """
    from scipy.optimize import minimize_scalar

    labelled = targets >= 0
    rows, columns = np.nonzero(labelled)[0], targets[labelled]
    found = minimize_scalar(
        lambda log: -float(log_conditionals(logits * np.exp(log), layout)[rows, columns].sum()), bounds=(-1.5, 0.0), method="bounded"
    )
    return float(np.exp(found.x))


def draw(count: int, size: int, seed: int) -> Sequence[int]:
    """`size` of `count` products, by the seed; all where there are fewer."""
    return np.random.default_rng(seed).permutation(count)[:size].tolist()

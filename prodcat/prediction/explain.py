"""Why one product was answered as it was: what each input did to the answer, what the mask kept out, which training products are like it. Imports
no torch; knows no file.

    influence   the path's log probability with everything, less that without one input or modality: above 0 it spoke for the answer
    mask        at each level, the probability that lies on categories outside the branch that was picked above
    neighbours  by cosine between the vectors stage two reads and the stored ones of training products
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from prodcat.contracts import Product
from prodcat.prediction.cascade import Answer, Cascade, StageTwoOutput, Unreadable
from prodcat.taxonomy import CategoryPath, format_path

INPUTS = ("title", "description", "brand", "image")


class FusingStage(Protocol):
    """Stage two, as far as explaining needs it (multimodal_stage.MultimodalStage)."""

    def read(self, products: Sequence[Product]) -> StageTwoOutput: ...
    def prepare(self, products: Sequence[Product]) -> Any: ...
    def encode(self, prepared: Any) -> tuple[dict[str, np.ndarray], np.ndarray]: ...
    def fuse(self, features: Mapping[str, np.ndarray], present: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Influence:
    """What one input or modality did.

    Args:
        change: of the answered path's log probability, by its being there; None where nothing is left to read without it.
    """

    name: str
    change: float | None


@dataclass(frozen=True, slots=True)
class MaskedLevel:
    """What dynamic masking did at one level. Probabilities are those of whole paths, which can be compared across branches.

    Args:
        picked: the best child of the category picked above.
        best: the most probable category of the level, wherever it is.
        excluded: the probability on the level's categories outside the branch picked above; 0 on the first level.
    """

    level: int
    picked: CategoryPath
    picked_probability: float
    best: CategoryPath
    best_probability: float
    excluded: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training product. Args: similarity: mean of the cosines; by: cosine per modality that both have."""

    key: str
    title: str | None
    path: CategoryPath
    similarity: float
    by: dict[str, float]


@dataclass(frozen=True)
class Reference:
    """Training products to find neighbours among.

    Args:
        vectors: modality -> float32 [m, d] and bool [m], whether a product has it.
    """

    keys: Sequence[str]
    titles: Sequence[str | None]
    paths: Sequence[CategoryPath]
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Explanation:
    """Args: inputs: through the stage that answered; modalities: in stage two, whichever stage answered."""

    answer: Answer
    inputs: tuple[Influence, ...]
    modalities: tuple[Influence, ...]
    levels: tuple[MaskedLevel, ...]
    neighbours: tuple[Neighbour, ...]

    def as_json(self) -> dict[str, Any]:
        """Only what JSON can hold."""
        return {
            "path": list(self.answer.path),
            "confidences": list(self.answer.confidences),
            "stage": self.answer.stage,
            "bundle": self.answer.bundle,
            "image_problem": self.answer.image_problem,
            "alternatives": [{"path": list(other.path), "confidence": other.confidence} for other in self.answer.alternatives],
            "inputs": {influence.name: influence.change for influence in self.inputs},
            "modalities": {influence.name: influence.change for influence in self.modalities},
            "mask": [
                {
                    "level": level.level,
                    "picked": list(level.picked),
                    "picked_probability": level.picked_probability,
                    "best": list(level.best),
                    "best_probability": level.best_probability,
                    "excluded": level.excluded,
                }
                for level in self.levels
            ],
            "neighbours": [
                {"key": near.key, "title": near.title, "path": list(near.path), "similarity": near.similarity, "by": near.by}
                for near in self.neighbours
            ],
        }


def explanation_lines(explanation: dict[str, Any]) -> list[str]:
    """What `as_json` gives, for a terminal."""
    path, stage = format_path(explanation["path"]), explanation["stage"]
    lines = [f"{path}  {explanation['confidences'][-1]:.1%} sure, by stage {stage} of bundle {explanation['bundle']}"]
    if explanation["image_problem"]:
        lines.append(f"  the image was not used: {explanation['image_problem']}")
    lines += [f"  or {format_path(other['path'])}  {other['confidence']:.1%}" for other in explanation["alternatives"]]
    for heading, part in ((f"what each input did (stage {stage})", "inputs"), ("what each modality did (stage 2)", "modalities")):
        if explanation[part]:
            lines += ["", f"{heading}: change of the answer's log probability by its being there"]
            lines += [f"  {name:<14}{_change(change)}" for name, change in explanation[part].items()]
    lines += ["", "what the mask kept out"]
    for level in explanation["mask"]:
        line = f"  level {level['level']}: picked {level['picked'][-1]} {level['picked_probability']:.1%}; {level['excluded']:.1%} outside the branch"
        if level["best"] != level["picked"]:
            line += f"; likelier was {format_path(level['best'])} {level['best_probability']:.1%}"
        lines.append(line)
    if explanation["neighbours"]:
        lines += ["", "nearest training products"]
        for near in explanation["neighbours"]:
            by = ", ".join(f"{name} {cosine:.2f}" for name, cosine in near["by"].items())
            lines.append(f"  {near['similarity']:.2f}  {format_path(near['path'])}  {near['title'] or 'no title'}  ({near['key']}; {by})")
    return lines


def explain(
    cascade: Cascade, stage_two: FusingStage, modalities: Sequence[str], product: Product, *, reference: Reference | None = None, neighbours: int = 5
) -> Explanation | Unreadable:
    """Args:
        stage_two: the cascade's own.
        modalities: their names, in the order of stage_two.encode's columns.
        reference: training products; None for no neighbours.
        neighbours: how many.

    Returns:
        Unreadable as the cascade gives it, for a product with nothing to go by.
    """
    (answer,) = cascade.classify([product])
    if isinstance(answer, Unreadable):
        return answer
    node = cascade.tree.index(answer.path)
    joint = _read(cascade, stage_two, [product], answer.stage)[0]
    features, present = stage_two.encode(stage_two.prepare([product]))
    return Explanation(
        answer,
        _inputs(cascade, stage_two, product, answer.stage, node, joint),
        _modalities(cascade, stage_two, modalities, features, present, node),
        _levels(cascade, answer, joint),
        nearest({name: features[name][0] for name, here in zip(modalities, present[0], strict=True) if here}, reference, neighbours)
        if reference is not None
        else (),
    )


def nearest(query: Mapping[str, np.ndarray], reference: Reference, count: int) -> tuple[Neighbour, ...]:
    """The `count` products of the reference with the highest mean cosine over the modalities that both have; fewer if fewer have any.

    Vectors are taken from the reference's mean and to its scale first: as they come, those of a text encoder all point one way.

    Args:
        query: modality -> float [d].
    """
    shared = [name for name in query if name in reference.vectors]
    cosines = np.full((len(reference.keys), len(shared)), np.nan)
    for column, name in enumerate(shared):
        vectors, present = reference.vectors[name]
        if present.any():
            mean, std = vectors[present].mean(axis=0), vectors[present].std(axis=0) + 1e-6
            cosines[present, column] = _unit((vectors[present] - mean) / std) @ _unit((query[name] - mean) / std)
    rows = np.flatnonzero(~np.isnan(cosines).all(axis=1))
    similarity = np.nanmean(cosines[rows], axis=1)
    found = []
    for place in np.argsort(-similarity, kind="stable")[:count]:
        row = rows[place]
        by = {name: float(cosines[row, column]) for column, name in enumerate(shared) if not np.isnan(cosines[row, column])}
        found.append(Neighbour(reference.keys[row], reference.titles[row], tuple(reference.paths[row]), float(similarity[place]), by))
    return tuple(found)


def _read(cascade: Cascade, stage_two: FusingStage, products: Sequence[Product], stage: int) -> list[np.ndarray | None]:
    """log p(path) [N] of each product through one stage; None where that stage has nothing to read."""
    if stage == 1:
        texts = [cascade.settings.text.of(p.title, p.description, p.brand, p.language) for p in products]
        readable = np.array([text is not None for text in texts])
        logits, _ = cascade.stage_one.read([text for text in texts if text is not None])
    else:
        output = stage_two.read(products)
        readable, logits = output.readable, output.logits[output.readable]
    found = iter(_log_probabilities(cascade, logits, stage))
    return [next(found) if here else None for here in readable]


def _log_probabilities(cascade: Cascade, logits: np.ndarray, stage: int) -> np.ndarray:
    """float [n, C] -> float64 [n, N], as the cascade reads them, before calibration's curves: those move no answer, only its confidence."""
    settings = cascade.settings
    calibration = settings.calibration_one if stage == 1 else settings.calibration_two
    return calibration.read(logits, cascade.layout, settings.decoder).decoded.joint[:, : len(cascade.tree)]


def _inputs(cascade: Cascade, stage_two: FusingStage, product: Product, stage: int, node: int, joint: np.ndarray | None) -> tuple[Influence, ...]:
    assert joint is not None  # the stage has answered
    given = [name for name in INPUTS if getattr(product, name)]
    without = _read(cascade, stage_two, [_without(product, name) for name in given], stage) if given else []
    return tuple(Influence(name, None if other is None else float(joint[node] - other[node])) for name, other in zip(given, without, strict=True))


def _without(product: Product, name: str) -> Product:
    if name == "title":
        return replace(product, title=None)
    if name == "description":
        return replace(product, description=None)
    return replace(product, brand=None) if name == "brand" else replace(product, image=None)


def _modalities(
    cascade: Cascade, stage_two: FusingStage, names: Sequence[str], features: Mapping[str, np.ndarray], present: np.ndarray, node: int
) -> tuple[Influence, ...]:
    columns = np.flatnonzero(present[0])
    # All at once: row 0 has everything, row i + 1 lacks the i-th modality.
    seen = np.repeat(present, len(columns) + 1, axis=0)
    seen[np.arange(1, len(columns) + 1), columns] = False
    hidden = {name: np.repeat(values, len(seen), axis=0) * seen[:, [column]] for column, (name, values) in enumerate(features.items())}
    joint = _log_probabilities(cascade, stage_two.fuse(hidden, seen), 2)[:, node]
    return tuple(
        Influence(names[column], float(joint[0] - joint[row]) if seen[row].any() else None) for row, column in enumerate(columns.tolist(), start=1)
    )


def _levels(cascade: Cascade, answer: Answer, joint: np.ndarray | None) -> tuple[MaskedLevel, ...]:
    assert joint is not None
    tree = cascade.tree
    probabilities = np.minimum(np.exp(joint), 1.0)
    path = tree.path_indices[tree.index(answer.path)]
    levels = []
    for level in range(len(answer.path)):
        nodes = np.arange(tree.level_slices[level].start, tree.level_slices[level].stop)
        above = path[level - 1] if level else -1
        best = int(nodes[probabilities[nodes].argmax()])
        levels.append(
            MaskedLevel(
                level=level + 1,
                picked=tree.categories[path[level]].path,
                picked_probability=float(probabilities[path[level]]),
                best=tree.categories[best].path,
                best_probability=float(probabilities[best]),
                excluded=float(probabilities[nodes[tree.parents[nodes] != above]].sum()),
            )
        )
    return tuple(levels)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def _change(change: float | None) -> str:
    return "nothing is left to read without it" if change is None else f"{change:+.3f}"

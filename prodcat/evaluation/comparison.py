"""Models side by side on the same products: figures of each over its seeds, with intervals over near-duplicate groups. Knows no model, chooses none.

Shapes: K seeds, n products, C columns (taxonomy.HeadLayout), as in decoding.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prodcat.decoding import greedy_nodes, sibling_log_softmax
from prodcat.evaluation.metrics import score_slice
from prodcat.taxonomy import HasLayout


@dataclass(frozen=True)
class Compared:
    """One model, trained from several seeds.

    Args:
        fusion, modalities: what it is called.
        features: the feature sets it fuses.
        parameters: trainable ones.
        logits: a seed each, float32 [n, C].
    """

    fusion: str
    modalities: str
    features: tuple[str, ...]
    parameters: int
    logits: Sequence[np.ndarray]


def comparison(models: Sequence[Compared], target: np.ndarray, groups: np.ndarray, layout: HasLayout, seed: int) -> dict[str, Any]:
    """Figures of every model.

    Args:
        target: int [n], label nodes; all labelled.
        groups: [n] near-duplicate groups.
        seed: of the bootstrap.

    Returns:
        {products, groups, classes: level -> count, seed, rows}; a row has {fusion, modalities, features, parameters, seeds, hierarchical, by_seed,
        levels, ensemble: {hierarchical, levels}}. `hierarchical` and `levels` are over the answers of all seeds, pooled: the figure of one of them
        drawn by chance; its interval draws groups, with all seeds' answers on each. `ensemble` is the figure of the seeds answering as one.
    """
    tree = layout.layout.tree
    paths = tree.path_indices[target]
    classes = {str(level + 1): len(set(paths[:, level][paths[:, level] >= 0].tolist())) for level in range(tree.depth)}
    rows = [_row(model, target, groups, layout, seed) for model in models]
    return {"products": len(target), "groups": len(set(groups.tolist())), "classes": classes, "seed": seed, "rows": rows}


def _row(model: Compared, target: np.ndarray, groups: np.ndarray, layout: HasLayout, seed: int) -> dict[str, Any]:
    tree = layout.layout.tree
    answers = [_answers(logits, layout) for logits in model.logits]
    count = len(answers)
    pooled = score_slice(np.concatenate(answers), np.tile(target, count), np.tile(groups, count), tree, seed)
    together = score_slice(_answers(np.mean(model.logits, axis=0), layout), target, groups, tree, seed)
    return {
        "fusion": model.fusion,
        "modalities": model.modalities,
        "features": list(model.features),
        "parameters": model.parameters,
        "seeds": count,
        "hierarchical": pooled["hierarchical"],
        "by_seed": [score_slice(each, target, groups, tree, seed)["hierarchical"]["f1"] for each in answers],
        # Every product stands there once a seed.
        "levels": {level: {**figures, "products": figures["products"] // count} for level, figures in pooled["levels"].items()},
        "ensemble": {"hierarchical": together["hierarchical"], "levels": together["levels"]},
    }


def _answers(logits: np.ndarray, tree: HasLayout) -> np.ndarray:
    return greedy_nodes(sibling_log_softmax(logits, tree), tree)


def markdown(found: dict[str, Any]) -> str:
    """What `comparison` returns, as a table for people."""
    classes = ", ".join(f"level {level}: {count}" for level, count in found["classes"].items())
    seeds = max((row["seeds"] for row in found["rows"]), default=0)
    lines = [
        f"{found['products']:,} test products in {found['groups']:,} near-duplicate groups, classes {classes}; {seeds} seeds a model, their answers "
        "pooled; 95 % intervals over groups. Nothing is chosen here: every model's epoch was chosen on the validation split.",
        "",
        "| fusion | modalities | parameters | hierarchical F1 | seeds | leaf accuracy | leaf macro F1 | F1 of the seeds together |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        figures, leaf = row["hierarchical"], row["levels"][max(row["levels"], key=int)]
        low, high = figures["f1_ci"]
        lines.append(
            f"| {row['fusion']} | {row['modalities']} | {row['parameters']:,} | {figures['f1']:.4f} [{low:.4f}, {high:.4f}] "
            f"| {min(row['by_seed']):.4f} to {max(row['by_seed']):.4f} | {leaf['accuracy']:.4f} | {leaf['macro_f1']:.4f} "
            f"| {row['ensemble']['hierarchical']['f1']:.4f} |"
        )
    return "\n".join(lines) + "\n"

"""Categories that lie under the wrong parent: their products are like those of another one's children. Decides nothing.

Shapes: c products of the category, n of the others, d dimensions of the vectors.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.recategorization.changes import Move, say
from prodcat.recategorization.clusters import neighbours
from prodcat.recategorization.proposals import Proposal
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path


class MovingConfig(Config):
    """What counts as evidence for a move."""

    neighbours: int = Field(10, ge=1, description="nearest products of other categories that each product is asked for")
    under: float = Field(0.7, gt=0, le=1, description="share of them that lie under one other parent, at least")
    home: float = Field(0.15, ge=0, le=1, description="share of them that lie under the category's own parent, at most")
    least: int = Field(10, ge=1, description="products of a category, at least")
    sample: int = Field(40, ge=1, description="products of a category that are looked at, at most")


def propose_moves(
    keys: Sequence[str], platforms: Sequence[str], labels: Sequence[CategoryPath], vectors: np.ndarray, tree: Taxonomy, config: MovingConfig
) -> list[Proposal]:
    """Of a sample of labelled products of the whole tree, at most one move a category; only to a parent one level above, as its own is.

    Args:
        keys, platforms, labels: n + c.
        vectors: float32 [n + c, d] of length 1, centred over all of them.
    """
    at = np.array([tree.index(label) for label in labels], dtype=np.int64)
    chains = tree.path_indices
    found: list[tuple[float, Proposal]] = []
    for node in np.unique(at[tree.is_leaf[at]]).tolist():
        level, parent = int(tree.levels[node]), int(tree.parents[node])
        own, others = np.flatnonzero(at == node), np.flatnonzero(at != node)
        if level < 2 or len(own) < config.least or not len(others):
            continue
        near = others[neighbours(vectors[own], config.neighbours, vectors[others])[0]]
        # The parents that the neighbours have at the level of the category's own.
        above = chains[at[near], level - 2]
        deeper = tree.levels[at[near]] >= level
        share = Counter(above[deeper].tolist())
        total = near.size
        (best, count), *_ = share.most_common(1) or [(parent, 0)]
        if best == parent or count < config.under * total or share[parent] > config.home * total:
            continue
        path, there = tree.categories[node].path, tree.categories[best].path
        if any(each.name == path[-1] for each in tree.children(there)):
            continue
        change = Move(path=path, parent=there)
        like = Counter(tree.categories[other].name for other in at[near][above == best].tolist()).most_common(3)
        reason = (
            f"{count / total:.0%} of the products most like it are under {format_path(there)!r} ({', '.join(name for name, _ in like)}), "
            f"{share[parent] / total:.0%} under {format_path(path[:-1])!r}"
        )
        evidence = {
            "products": len(own),
            "platforms": dict(sorted(Counter(platforms[row] for row in own.tolist()).items())),
            "exemplars": [keys[row] for row in own[:12].tolist()],
            "terms": [],
            "nearest": [{"category": format_path((*there, name)), "likeness": round(100 * times / total, 1)} for name, times in like],
            "tightness": None,
            "stability": None,
        }
        identifier = hashlib.sha256(f"{tree.hash} {say(change)}".encode()).hexdigest()[:12]
        found.append((-count / total, Proposal(id=identifier, base=tree.hash, change=change, reason=reason, evidence=(evidence,))))
    return [proposal for _, proposal in sorted(found, key=lambda each: (each[0], each[1].id))]

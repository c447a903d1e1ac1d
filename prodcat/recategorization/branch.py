"""One branch from its products' vectors to clusters, names and proposals, and what is kept of it. Knows no encoder, no catalog and no Ray.

BRANCH/figures.json           settings that were tried, clusters, and how they match labels
BRANCH/map.png                the picture
BRANCH/state.safetensors      vectors, clusters and how far each reaches: where new products belong (online.py)
BRANCH/projection.safetensors the projection that was clustered

Shapes: n products, d dimensions of the vectors, K clusters.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.recategorization.clusters import CascadeConfig, Clusters, cascade
from prodcat.recategorization.naming import ClusterName, NamingConfig, name_clusters
from prodcat.recategorization.online import Assigner
from prodcat.recategorization.picture import draw_map
from prodcat.recategorization.projection import ProjectionConfig, project
from prodcat.recategorization.proposals import Branch, Proposal, ProposalConfig, exemplars, propose, tightness
from prodcat.recategorization.scoring import judge
from prodcat.recategorization.selection import Selected, SelectionConfig, select
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

FIGURES, MAP = "figures.json", "map.png"


class BranchConfig(Config):
    """How a branch is clustered and read."""

    seed: int = 0
    projection: ProjectionConfig = ProjectionConfig()
    cascade: CascadeConfig = CascadeConfig()
    selection: SelectionConfig | None = Field(SelectionConfig(), description="settings that are tried; null: `cascade` as it stands")
    naming: NamingConfig = NamingConfig()
    proposals: ProposalConfig = ProposalConfig()
    judged_seeds: tuple[int, ...] = Field((0, 1, 2), description="clusterings that are compared with the labels below the branch; empty: none")


@dataclass(frozen=True)
class BranchProducts:
    """n products below one category.

    Args:
        keys, platforms, titles: n.
        ignored: words that name no category: brands, and those of most categories.
        labels: n paths at the category or below it; None for a product without one.
        answered: bool [n]: the label is a bundle's answer and nobody's label; it is no truth to compare with.
        vectors: float32 [n, d] of length 1.
        raw: the same without what was learned on this branch; None: `vectors`.
    """

    path: CategoryPath
    keys: Sequence[str]
    platforms: Sequence[str]
    titles: Sequence[str | None]
    ignored: Sequence[str]
    labels: Sequence[CategoryPath | None]
    answered: np.ndarray
    vectors: np.ndarray
    raw: np.ndarray | None = None


@dataclass(frozen=True)
class Examined:
    """What was found.

    Args:
        places: float32 [n, 2] on the picture.
    """

    clusters: Clusters
    names: Sequence[ClusterName]
    proposals: list[Proposal]
    places: np.ndarray
    figures: dict[str, Any]


def examine(products: BranchProducts, tree: Taxonomy, config: BranchConfig, folder: Path) -> Examined:
    """Cluster, name, propose; write the branch's folder. The same products under the same seed give the same, whatever the number of cores.

    A branch without products has no clusters; one of a single product, or of fewer than make a cluster, leaves them apart; products that are all the
    same are one cluster, which proposes nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vectors, path = products.vectors, products.path
    selected = Selected(config.cascade, [], ())
    if config.selection is not None:
        selected = select(vectors, config.projection, config.cascade, config.selection, config.seed)
    projection = project(vectors, config.projection, config.seed)
    clusters = cascade(projection.places, vectors, selected.cascade)
    known = [category.path for category in tree.categories if category.path[: len(path)] != path]
    titles = [[title for row in rows.tolist() if (title := products.titles[row])] for rows in clusters.members]
    names = name_clusters(titles, path, known, config.naming, products.ignored)
    stability = tuple(selected.stability(rows) for rows in clusters.members)
    branch = Branch(path, products.keys, products.platforms, products.titles, products.labels, vectors, clusters, names, stability)
    proposals = propose(branch, tree, config.proposals)
    places = look(vectors, config)
    figures = {
        "path": list(path),
        "products": len(vectors),
        "seed": config.seed,
        "cascade": selected.cascade.model_dump(mode="json"),
        "tried": selected.tried,
        "clusters": [_told(branch, number, config) for number in range(len(clusters.members))],
        "apart": len(clusters.apart),
        "labels": _judged(products, branch, selected.cascade, config),
    }
    (folder / FIGURES).write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draw_map(folder / MAP, places, clusters, [_caption(number, name) for number, name in enumerate(names)], format_path(path) or "all products")
    projection.save(folder)
    Assigner.fit(products.keys, vectors, clusters, selected.cascade).save(folder)
    return Examined(clusters, names, proposals, places, figures)


def look(vectors: np.ndarray, config: BranchConfig) -> np.ndarray:
    """float32 [n, 2]: a projection for the eye. It is not clustered: two dimensions tear apart what belongs together."""
    flat = config.projection.model_copy(update={"dimensions": 2, "min_dist": 0.1})
    return project(vectors, flat, config.seed).places


def _caption(number: int, name: ClusterName) -> str:
    return f"{number + 1} {name.name}" if name.name else f"{number + 1}"


def _told(branch: Branch, number: int, config: BranchConfig) -> dict[str, Any]:
    rows, name = branch.clusters.members[number], branch.names[number]
    steps = Counter(" > ".join(step for step, _ in branch.clusters.decisions[row]) for row in rows.tolist())
    labels = Counter(format_path(label) for row in rows.tolist() if (label := branch.labels[row]) is not None)
    return {
        "cluster": number,
        "name": name.name,
        "terms": [[term, weight] for term, weight in name.terms],
        "nearest": [{"category": format_path(path), "likeness": score} for path, score in name.nearest],
        "products": len(rows),
        "platforms": dict(Counter(branch.platforms[row] for row in rows.tolist()).most_common()),
        "labels": dict(labels.most_common()),
        "exemplars": [branch.keys[row] for row in exemplars(branch.vectors, rows, config.proposals.exemplars).tolist()],
        "tightness": tightness(branch.vectors, rows),
        "stability": branch.stability[number],
        "decisions": dict(steps.most_common()),
    }


def _judged(products: BranchProducts, branch: Branch, setting: CascadeConfig, config: BranchConfig) -> dict[str, Any] | None:
    """Against the categories right below the branch, of the products that are labelled with one; None where there are not two."""
    truth = [None if said or own == products.path else own for own, said in zip(branch.below(), products.answered.tolist(), strict=True)]
    if len({own for own in truth if own is not None}) < 2 or not config.judged_seeds:
        return None
    return judge(products.vectors, truth, config.projection, setting, config.judged_seeds, products.raw)

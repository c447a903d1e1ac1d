"""One branch from its products' vectors to clusters, names and proposals, and what is kept of it. Knows no encoder, no catalog and no Ray.

BRANCH/figures.json           settings that were tried, clusters, and how they match labels
BRANCH/map.png                the picture
BRANCH/state.safetensors      vectors, clusters and how far each reaches: where new products belong (online.py)
BRANCH/projection.safetensors the projection that was clustered

Shapes: n products, d dimensions of the vectors, K clusters.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.recategorization.clusters import CascadeConfig, Clusters, Step, cascade
from prodcat.recategorization.naming import ClusterName, NamingConfig, name_clusters
from prodcat.recategorization.online import Assigner
from prodcat.recategorization.picture import draw_map
from prodcat.recategorization.projection import ProjectionConfig, project
from prodcat.recategorization.proposals import Branch, Proposal, ProposalConfig, exemplars, propose, tightness
from prodcat.recategorization.scoring import judge
from prodcat.recategorization.selection import Selected, SelectionConfig, select
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

FIGURES, MAP = "figures.json", "map.png"
# Products beside those that were drawn.
_AT_ONCE = 4096


class BranchConfig(Config):
    """How a branch is clustered and read."""

    seed: int = 0
    clustered: int = Field(
        100_000,
        ge=100,
        description="of more products than that so many are drawn and clustered; the others join those clusters as new products do, or stay apart",
    )
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
    drawn = draw(len(vectors), config)
    some = vectors[drawn]
    selected = Selected(config.cascade, [], ())
    if config.selection is not None:
        selected = select(some, config.projection, config.cascade, config.selection, config.seed)
    projection = project(some, config.projection, config.seed)
    found = cascade(projection.places, some, selected.cascade)
    assigner = Assigner.fit([products.keys[row] for row in drawn.tolist()], some, found, selected.cascade)
    clusters = with_others(found, drawn, assigner, vectors)
    known = [category.path for category in tree.categories if category.path[: len(path)] != path]
    titles = [[title for row in rows.tolist() if (title := products.titles[row])] for rows in clusters.members]
    names = name_clusters(titles, path, known, config.naming, products.ignored)
    stability = tuple(selected.stability(rows) for rows in found.members)
    branch = Branch(path, products.keys, products.platforms, products.titles, products.labels, vectors, clusters, names, stability)
    proposals = propose(branch, tree, config.proposals)
    places = look(vectors, config)
    figures = {
        "path": list(path),
        "products": len(vectors),
        "clustered": len(drawn),
        "seed": config.seed,
        "cascade": selected.cascade.model_dump(mode="json"),
        "tried": selected.tried,
        "clusters": [_told(branch, number, config) for number in range(len(clusters.members))],
        "apart": len(clusters.apart),
        "labels": _judged(products, drawn, branch, selected.cascade, config),
    }
    (folder / FIGURES).write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draw_map(folder / MAP, places, clusters, [_caption(number, name) for number, name in enumerate(names)], format_path(path) or "all products")
    projection.save(folder)
    assigner.save(folder)
    return Examined(clusters, names, proposals, places, figures)


def look(vectors: np.ndarray, config: BranchConfig) -> np.ndarray:
    """float32 [n, 2]: a projection for the eye. It is not clustered: two dimensions tear apart what belongs together."""
    flat = config.projection.once().model_copy(update={"dimensions": 2, "min_dist": 0.1})
    drawn = draw(len(vectors), config)
    found = project(vectors[drawn], flat, config.seed)
    places = np.zeros((len(vectors), 2), dtype=np.float32)
    places[drawn] = found.places
    for others in _others(len(vectors), drawn):
        places[others] = found.place(vectors[others])
    return places


def draw(n: int, config: BranchConfig) -> np.ndarray:
    """int64, rising: the products that are clustered."""
    return np.sort(np.random.default_rng(config.seed).permutation(n)[: config.clustered])


def _others(n: int, drawn: np.ndarray) -> Iterator[np.ndarray]:
    """The other rows, rising, so many at once as distances to all that were drawn find room for."""
    rest = np.setdiff1d(np.arange(n), drawn, assume_unique=True)
    for start in range(0, len(rest), _AT_ONCE):
        yield rest[start : start + _AT_ONCE]


def with_others(found: Clusters, drawn: np.ndarray, assigner: Assigner, vectors: np.ndarray) -> Clusters:
    """Clusters of the drawn products, in their order -> of all: the step "assigned", or apart."""
    cluster = np.full(len(vectors), -1, dtype=np.int64)
    cluster[drawn] = assigner.cluster
    decisions: list[tuple[tuple[Step, int | None], ...]] = [(("apart", None),)] * len(vectors)
    for row, each in zip(drawn.tolist(), found.decisions, strict=True):
        decisions[row] = each
    for others in _others(len(vectors), drawn):
        cluster[others] = assigner.assign(vectors[others])
        for row in others[cluster[others] >= 0].tolist():
            decisions[row] = (("assigned", int(cluster[row])),)
    members = tuple(np.flatnonzero(cluster == number) for number in range(len(found.members)))
    return Clusters(members, np.flatnonzero(cluster < 0), tuple(decisions))


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


def _judged(products: BranchProducts, drawn: np.ndarray, branch: Branch, setting: CascadeConfig, config: BranchConfig) -> dict[str, Any] | None:
    """Against the categories right below the branch, of the clustered products that are labelled with one; None where there are not two."""
    below = branch.below()
    truth = [None if products.answered[row] or below[row] == products.path else below[row] for row in drawn.tolist()]
    if len({own for own in truth if own is not None}) < 2 or not config.judged_seeds:
        return None
    raw = None if products.raw is None else products.raw[drawn]
    return judge(products.vectors[drawn], truth, config.projection, setting, config.judged_seeds, raw)

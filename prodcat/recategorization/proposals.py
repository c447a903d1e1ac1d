"""From the clusters of a branch to changes of the tree that a person may accept, each with its reason and evidence. Decides nothing.

What a cluster says is read against the labels that its products have within the branch:

- products that no child of the branch explains, in a cluster of their own: add a category
- one category whose products fall into several clusters: split it
- several categories that share one cluster: merge them
- a category whose own words its titles do not have, and other words they do: rename it

Shapes: n products of the branch, d dimensions of the vectors, K clusters.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.masking import forms
from prodcat.recategorization.changes import Add, Change, Merge, Part, Rename, Split, say
from prodcat.recategorization.clusters import Clusters
from prodcat.recategorization.naming import ClusterName, words_of
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path


class ProposalConfig(Config):
    """What counts as evidence."""

    own: float = Field(0.6, gt=0, le=1, description="share of a cluster's products that are of one category, for the cluster to be its own")
    part: float = Field(
        0.05, gt=0, le=1, description="share of a category's products that its clusters of one name hold at least, to be a part of it"
    )
    shared: float = Field(0.25, gt=0, le=1, description="share of a cluster that each of two categories has at least, to be merged")
    inside: float = Field(0.6, gt=0, le=1, description="share of each category's products that such a cluster holds")
    silent: float = Field(0.02, ge=0, le=1, description="share of a category's titles that have a word of its name, at most, for another name")
    exemplars: int = Field(12, ge=1, description="products that are shown of a cluster: those nearest to its middle")


class Proposal(Config):
    """A change of the tree `base`, and why.

    Args:
        id: of the change on this tree; the same change proposed again has it again.
        base: hash of the tree.
        evidence: {products, platforms, exemplars, terms, nearest, tightness, stability}, a list of them where there are several parts; as JSON.
    """

    id: str
    base: str
    change: Change
    reason: str
    evidence: tuple[dict[str, Any], ...] = Field(repr=False)


@dataclass(frozen=True)
class Branch:
    """n products below one category, and what they fall into.

    Args:
        path: of the category.
        keys, platforms, titles: n.
        labels: n paths at the category or below it; None for a product without one.
        vectors: float32 [n, d], of length 1.
        names, stability: K.
    """

    path: CategoryPath
    keys: Sequence[str]
    platforms: Sequence[str]
    titles: Sequence[str | None]
    labels: Sequence[CategoryPath | None]
    vectors: np.ndarray
    clusters: Clusters
    names: Sequence[ClusterName]
    stability: Sequence[float | None] = ()

    def below(self) -> list[CategoryPath]:
        """Of each product the child of the branch that it is labelled with or below; the branch itself where its label says no more."""
        size = len(self.path)
        return [tuple(label[: size + 1]) if label is not None and len(label) > size else self.path for label in self.labels]


def propose(branch: Branch, tree: Taxonomy, config: ProposalConfig) -> list[Proposal]:
    """Of the categories at the branch and right below it: most products first."""
    own = branch.below()
    total = Counter(own)
    by_cluster = [Counter(own[row] for row in rows.tolist()) for rows in branch.clusters.members]
    found: list[tuple[int, Proposal]] = []

    def put(change: Change, reason: str, clusters: Sequence[int], chosen: Sequence[np.ndarray] | None = None) -> None:
        rows = chosen or [branch.clusters.members[number] for number in clusters]
        identifier = hashlib.sha256(f"{tree.hash} {say(change)}".encode()).hexdigest()[:12]
        evidence = tuple(_evidence(branch, each, number, config) for each, number in zip(rows, clusters, strict=True))
        proposal = Proposal(id=identifier, base=tree.hash, change=change, reason=reason, evidence=evidence)
        found.append((sum(map(len, rows)), proposal))

    parts: dict[CategoryPath, list[int]] = {}
    for number, counts in enumerate(by_cluster):
        size = len(branch.clusters.members[number])
        crowd = [each for each, count in sorted(counts.items()) if count >= config.shared * size and count >= config.inside * total[each]]
        crowd = [each for each in crowd if each != branch.path]
        if len(crowd) > 1:
            into = max(crowd, key=lambda each: (total[each], each))
            shares = ", ".join(f"{counts[each]} of {total[each]} of {format_path(each)!r}" for each in crowd)
            put(Merge(paths=tuple(crowd), into=into), f"one cluster holds {shares}", [number])
            continue
        category, most = counts.most_common(1)[0]
        if most >= config.own * size:
            parts.setdefault(category, []).append(number)
    for category, numbers in parts.items():
        children = {each.name for each in tree.children(category)} if category in tree else set()
        groups = [group for group in _joined(branch, own, category, numbers, children) if len(group[2]) >= config.part * total[category]]
        if not groups:
            continue
        named, numbers, rows = (list(each) for each in zip(*groups, strict=True))
        pieces = [Part(name=name, products=tuple(branch.keys[row] for row in each.tolist())) for name, each in zip(named, rows, strict=True)]
        if category == branch.path and children:
            for number, piece, each in zip(numbers, pieces, rows, strict=True):
                reason = f"{len(each)} products of {format_path(category)!r} that are of no category below it lie by themselves"
                put(Add(parent=category, part=piece), reason, [number], [each])
        elif len(numbers) > 1:
            reason = f"{sum(map(len, rows))} of {total[category]} products fall into {len(numbers)} groups of their own"
            put(Split(path=category, parts=tuple(pieces)), reason, numbers, rows)
        elif category != branch.path and len(rows[0]) >= config.own * total[category]:
            name, siblings = branch.names[numbers[0]].name, {each.name for each in tree.children(category[:-1])}
            if name is not None and name not in siblings and _never_says(branch, category, own, name, config):
                reason = f"next to no title of it has a word of {category[-1]!r}; what sets them apart is {branch.names[numbers[0]].terms[0][0]!r}"
                put(Rename(path=category, name=name), reason, numbers, rows)
    return [proposal for _, proposal in sorted(found, key=lambda each: (-each[0], each[1].id))]


def _of(own: Sequence[CategoryPath], rows: np.ndarray, category: CategoryPath) -> np.ndarray:
    return np.array([row for row in rows.tolist() if own[row] == category], dtype=np.int64)


def _joined(
    branch: Branch, own: Sequence[CategoryPath], category: CategoryPath, numbers: Sequence[int], taken: set[str]
) -> list[tuple[str, int, np.ndarray]]:
    """Clusters of a category, those of one name together: (name, number of its largest cluster, rows of the category in them).

    Two clusters whose products are called alike differ in what no word says, a colour more often than a category.

    Args:
        taken: names that stand beside them.
    """
    together: dict[str, list[int]] = {}
    for number in numbers:
        name = branch.names[number].name or f"{branch.path[-1]} {number + 1}"
        together.setdefault(name, []).append(number)
    found: list[tuple[str, int, np.ndarray]] = []
    for name, alike in together.items():
        while name in taken or name in [each for each, _, _ in found]:
            name = f"{name} {alike[0] + 1}"
        found.append((name, alike[0], np.sort(np.concatenate([_of(own, branch.clusters.members[number], category) for number in alike]))))
    return found


def _never_says(branch: Branch, category: CategoryPath, own: Sequence[CategoryPath], name: str, config: ProposalConfig) -> bool:
    """Whether next to no title of a category has a word of its own name, nor the other name one."""
    called = {form for word in words_of(category[-1]) for form in forms(word)}
    titles = [set(words_of(title)) for title, each in zip(branch.titles, own, strict=True) if each == category and title]
    if not titles or not called or set(words_of(name)) & called:
        return False
    return sum(bool(title & called) for title in titles) <= config.silent * len(titles)


def propose_new(
    path: CategoryPath, keys: Sequence[str], platforms: Sequence[str], vectors: np.ndarray, name: ClusterName, tree: Taxonomy, config: ProposalConfig
) -> Proposal:
    """A cluster that new products have made, as a category below `path`.

    Args:
        keys, platforms: of its m products.
        vectors: float32 [m, d] of length 1.
    """
    taken = {each.name for each in tree.children(path)}
    called = name.name if name.name is not None and name.name not in taken else f"{path[-1]}: new {len(taken) + 1}"
    own = Clusters((np.arange(len(keys)),), np.zeros(0, dtype=np.int64), ((),) * len(keys))
    branch = Branch(path, keys, platforms, [], [], vectors, own, [name])
    change = Add(parent=path, part=Part(name=called, products=tuple(keys)))
    reason = f"{len(keys)} new products below {format_path(path)!r} are like none of its clusters, and like each other"
    identifier = hashlib.sha256(f"{tree.hash} {say(change)} {sorted(keys)[0]}".encode()).hexdigest()[:12]
    return Proposal(id=identifier, base=tree.hash, change=change, reason=reason, evidence=(_evidence(branch, own.members[0], 0, config),))


def exemplars(vectors: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The rows nearest to the middle of `rows`, the nearest first."""
    near = _near(vectors, rows)
    return rows[np.lexsort((rows, -near))][:count]


def tightness(vectors: np.ndarray, rows: np.ndarray) -> float:
    """Mean cosine to the middle: 1 where all are the same."""
    return round(float(_near(vectors, rows).mean()), 4)


def _near(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    middle = vectors[rows].mean(axis=0)
    return np.asarray(vectors[rows] @ (middle / max(float(np.linalg.norm(middle)), 1e-12)))


def _evidence(branch: Branch, rows: np.ndarray, number: int, config: ProposalConfig) -> dict[str, Any]:
    name = branch.names[number]
    return {
        "products": len(rows),
        "platforms": dict(sorted(Counter(branch.platforms[row] for row in rows.tolist()).items())),
        "exemplars": [branch.keys[row] for row in exemplars(branch.vectors, rows, config.exemplars).tolist()],
        "terms": [term for term, _ in name.terms],
        "nearest": [{"category": format_path(path), "likeness": score} for path, score in name.nearest],
        "tightness": tightness(branch.vectors, rows),
        "stability": branch.stability[number] if branch.stability else None,
    }

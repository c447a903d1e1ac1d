"""The category tree: names, stable ids, and the arrays that masks, losses and decoders are made of. Knows no model and no table.

A HeadLayout beside it says which column of a model's logits means what: a column a category, in the tree's order, then a column for every inner
category at which products may end.

Words: a category is a node; the root is not one. Levels count from 1 under the root. A path is written "Footwear > Shoes > Casual Shoes".
Depth may be ragged: a leaf may sit at any level.

Order: nodes stand level by level; within a level, children of one parent stand together, by name. So the nodes of a level are one slice (the
columns of that level's head) and siblings are one slice (the support of one softmax). The order depends on the tree alone, not on the order in
which labels were met.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from prodcat.errors import TaxonomyError

SEPARATOR = " > "
CategoryPath = tuple[str, ...]

# "166 - Apparel & Accessories > Clothing" (Google) and "gid://shopify/TaxonomyCategory/aa-1 : Apparel > Clothing" (Shopify).
_LEADING_ID = re.compile(r"^(?:(?P<google>\d+)\s+-\s+|(?P<shopify>gid://\S+)\s+:\s+)(?P<path>.+)$")


def parse_path(text: str) -> CategoryPath:
    """ "A > B > C" -> ("A", "B", "C"). Raises TaxonomyError for an empty name."""
    path = tuple(name.strip() for name in text.split(">"))
    _check(path)
    return path


def format_path(path: Sequence[str]) -> str:
    return SEPARATOR.join(path)


def _check(path: Sequence[str]) -> None:
    if not path or any(not name or ">" in name for name in path):
        raise TaxonomyError(f"category path {list(path)!r}: every level needs a name without '>'; a null level is left out, not an empty name")


def category_id(path: Sequence[str]) -> str:
    """The id of a category that came without one: 12 hex digits of the SHA-256 of its path, so the same in every run and on every machine."""
    return hashlib.sha256(format_path(path).encode()).hexdigest()[:12]


def _digest(entries: Iterable[tuple[str, Sequence[str]]]) -> str:
    text = "\n".join(f"{identifier}\t{format_path(path)}" for identifier, path in entries)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Category:
    id: str
    path: CategoryPath

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def level(self) -> int:
        return len(self.path)

    def __str__(self) -> str:
        return format_path(self.path)


class Taxonomy:
    """An immutable tree of categories. N categories, deepest level D.

    Args:
        paths: category paths; missing ancestors are added.
        ids: path -> id for categories that come with one (Google's, Shopify's); the others get `category_id(path)`.

    Raises:
        TaxonomyError: no path at all, an empty name, or one id for two paths.
    """

    def __init__(self, paths: Iterable[Sequence[str]], ids: dict[CategoryPath, str] | None = None) -> None:
        known: set[CategoryPath] = set()
        for given in paths:
            path = tuple(given)
            _check(path)
            known.update(path[: level + 1] for level in range(len(path)))
        if not known:
            raise TaxonomyError("a taxonomy needs at least one category: the catalog has no labelled product and no category file was given")
        given_ids = ids or {}
        # Sorting by (level, parent's path, name) puts levels, then siblings, together.
        ordered = sorted(known, key=lambda path: (len(path), path))
        self.categories: tuple[Category, ...] = tuple(Category(given_ids.get(path) or category_id(path), path) for path in ordered)
        self._index_of_path: dict[CategoryPath, int] = {category.path: i for i, category in enumerate(self.categories)}
        self._index_of_id: dict[str, int] = {category.id: i for i, category in enumerate(self.categories)}
        if len(self._index_of_id) != len(self.categories):
            seen: dict[str, Category] = {}
            for category in self.categories:
                if category.id in seen:
                    raise TaxonomyError(f"id {category.id!r} stands for both {str(seen[category.id])!r} and {str(category)!r}: ids must be unique")
                seen[category.id] = category

    # ---- from and to files -------------------------------------------------------------------------------------------------------

    @classmethod
    def from_labels(cls, labels: Iterable[Sequence[str] | None]) -> "Taxonomy":
        """From the label paths of products; None (an unlabelled product) and empty paths add nothing."""
        return cls({tuple(path) for path in labels if path})

    @classmethod
    def from_lines(cls, lines: Iterable[str], source: str = "taxonomy") -> "Taxonomy":
        """From lines "A > B > C", with or without a leading id as Google and Shopify publish theirs. Blank lines and lines with # are skipped."""
        paths: list[CategoryPath] = []
        ids: dict[CategoryPath, str] = {}
        for number, line in enumerate(lines, 1):
            text = line.strip().removeprefix("\ufeff")
            if not text or text.startswith("#"):
                continue
            match = _LEADING_ID.match(text)
            try:
                path = parse_path(match["path"] if match else text)
            except TaxonomyError as error:
                raise TaxonomyError(f"{source}, line {number}: {error}") from None
            paths.append(path)
            if match:
                identifier = match["google"] or match["shopify"]
                if ids.setdefault(path, identifier) != identifier:
                    raise TaxonomyError(f"{source}, line {number}: {format_path(path)!r} has the ids {ids[path]!r} and {identifier!r}")
        return cls(paths, ids)

    def save(self, path: str | Path) -> None:
        """As JSON: {"hash": ..., "categories": [{"id": ..., "path": [...]}, ...]}."""
        document = {"hash": self.hash, "categories": [{"id": c.id, "path": list(c.path)} for c in self.categories]}
        Path(path).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Taxonomy":
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise TaxonomyError(f"{path}: not a taxonomy file ({error!r}); write one with Taxonomy.save") from error

    @classmethod
    def from_json(cls, text: str, path: str) -> "Taxonomy":
        """What `save` has written. Args: path: of the file, for messages."""
        try:
            document = json.loads(text)
            # str(): a number in place of a name is an edit, and the hash below says so.
            entries = [(tuple(str(name) for name in entry["path"]), str(entry["id"])) for entry in document["categories"]]
            stored = document["hash"]
        except (ValueError, KeyError, TypeError) as error:
            raise TaxonomyError(f"{path}: not a taxonomy file ({error!r}); write one with Taxonomy.save") from error
        found = _digest((identifier, category) for category, identifier in entries)
        if found != stored:
            raise TaxonomyError(f"{path}: its content has hash {found}, the file says {stored}; it was edited by hand or damaged")
        return cls([category for category, _ in entries], dict(entries))

    # ---- names -------------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.categories)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Taxonomy) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Taxonomy({len(self)} categories, {self.depth} levels, {int(self.is_leaf.sum())} leaves, {self.hash[:12]})"

    @cached_property
    def hash(self) -> str:
        """SHA-256 over ids and paths, in order: equal for equal trees, whatever they were built from."""
        return _digest((category.id, category.path) for category in self.categories)

    def index(self, path: Sequence[str]) -> int:
        """Node index of a path. Raises TaxonomyError for one that is not in the tree."""
        try:
            return self._index_of_path[tuple(path)]
        except KeyError:
            raise TaxonomyError(f"category {format_path(path)!r} is not in the tree ({len(self)} categories, hash {self.hash[:12]})") from None

    def index_of_id(self, identifier: str) -> int:
        try:
            return self._index_of_id[identifier]
        except KeyError:
            raise TaxonomyError(f"category id {identifier!r} is not in the tree (hash {self.hash[:12]})") from None

    def __contains__(self, path: object) -> bool:
        return isinstance(path, Sequence) and not isinstance(path, str) and tuple(path) in self._index_of_path

    def children(self, path: Sequence[str] = ()) -> tuple[Category, ...]:
        """Children of a category, or the first level for the empty path."""
        parent = self.index(path) if path else -1
        return tuple(self.categories[i] for i in np.flatnonzero(self.parents == parent))

    # ---- arrays ------------------------------------------------------------------------------------------------------------------

    @cached_property
    def depth(self) -> int:
        return self.categories[-1].level

    @cached_property
    def parents(self) -> np.ndarray:
        """int32 [N]: index of each node's parent; -1 on the first level."""
        return np.array([self._index_of_path[c.path[:-1]] if c.level > 1 else -1 for c in self.categories], dtype=np.int32)

    @cached_property
    def levels(self) -> np.ndarray:
        """int32 [N]: level of each node, from 1."""
        return np.array([c.level for c in self.categories], dtype=np.int32)

    @cached_property
    def is_leaf(self) -> np.ndarray:
        """bool [N]."""
        leaf = np.ones(len(self), dtype=bool)
        leaf[self.parents[self.parents >= 0]] = False
        return leaf

    @cached_property
    def level_slices(self) -> tuple[slice, ...]:
        """The columns of each level's head: level_slices[n - 1] are the nodes of level n."""
        bounds = np.searchsorted(self.levels, np.arange(1, self.depth + 2))
        return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(bounds))

    @cached_property
    def sibling_starts(self) -> np.ndarray:
        """int32 [G]: first node of each group of siblings, in node order; group g ends where g + 1 begins."""
        return np.flatnonzero(np.diff(self.parents, prepend=-2)).astype(np.int32)

    @cached_property
    def sibling_groups(self) -> np.ndarray:
        """int32 [N]: the group of siblings each node belongs to."""
        group = np.zeros(len(self), dtype=np.int32)
        group[self.sibling_starts[1:]] = 1
        return np.cumsum(group).astype(np.int32)

    @cached_property
    def path_indices(self) -> np.ndarray:
        """int32 [N, D]: row i holds the nodes from level 1 down to node i, then -1."""
        table = np.full((len(self), self.depth), -1, dtype=np.int32)
        for i, category in enumerate(self.categories):
            table[i, : category.level] = [self._index_of_path[category.path[: level + 1]] for level in range(category.level)]
        return table

    @cached_property
    def layout(self) -> "HeadLayout":
        """The tree's own columns: a category each, and every path goes on to a leaf."""
        return HeadLayout(self)

    def children_mask(self, node: int) -> np.ndarray:
        """bool [N]: the children of `node`; of the root for -1. This is the dynamic mask of the level below."""
        return self.parents == node

    def targets(self, labels: Sequence[Sequence[str] | None]) -> np.ndarray:
        """Label paths -> int32 [n, D] node indices; -1 at levels that are not labelled (also everywhere for None)."""
        table = np.full((len(labels), self.depth), -1, dtype=np.int32)
        for row, path in enumerate(labels):
            if path:
                table[row] = self.path_indices[self.index(path)]
        return table


class HasLayout(Protocol):
    """What logits may have the columns of: a Taxonomy (categories only), or a HeadLayout."""

    @property
    def layout(self) -> "HeadLayout": ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class HeadLayout:
    """The columns of a model's logits: N categories in the tree's order, then S stops.

    A stop is one more choice beside the children of an inner category: "the product ends here". It belongs to the softmax of those children, so it
    needs no arithmetic of its own. Which labels say so is our choice, made where a layout is made (HierarchyConfig.stop): read as "unknown below", a
    label at an inner category needs no stop and trains the levels it has; read as "belongs here", it trains the stop too.

    Shapes: C = N + S columns, G groups of siblings, D levels, E ends.

    Args:
        stops: inner categories at which products may end, rising; the k-th has column N + k.

    Raises:
        TaxonomyError: a stop that is a leaf, is no category, or stands twice.
    """

    tree: Taxonomy
    stops: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if list(self.stops) != sorted(set(self.stops)):
            raise TaxonomyError(f"stops {list(self.stops)}: each inner category once, in the tree's order")
        for node in self.stops:
            if not 0 <= node < len(self.tree) or self.tree.is_leaf[node]:
                raise TaxonomyError(f"stop {node}: not an inner category of {self.tree!r}; a path ends at a leaf without one")

    def __len__(self) -> int:
        return len(self.tree) + len(self.stops)

    @property
    def layout(self) -> "HeadLayout":
        return self

    @cached_property
    def nodes(self) -> np.ndarray:
        """int32 [C]: the category a path ends at that ends in this column: the category itself, or the one stopped at."""
        return np.concatenate([np.arange(len(self.tree)), np.array(self.stops, dtype=np.int64)]).astype(np.int32)

    @cached_property
    def parents(self) -> np.ndarray:
        """int32 [C]: the category whose children this column is chosen among; -1 on the first level."""
        return np.concatenate([self.tree.parents, np.array(self.stops, dtype=np.int32)])

    @cached_property
    def levels(self) -> np.ndarray:
        """int32 [C]: level of the choice: a category's own level; of a stop, that of the children it stands beside."""
        return np.concatenate([self.tree.levels, self.tree.levels[list(self.stops)] + 1]).astype(np.int32)

    @cached_property
    def child_groups(self) -> np.ndarray:
        """int32 [N]: the group that a category's children form; -1 for a leaf."""
        groups = np.full(len(self.tree), -1, dtype=np.int32)
        first = self.tree.sibling_starts
        inner = self.tree.parents[first] >= 0
        groups[self.tree.parents[first[inner]]] = np.flatnonzero(inner)
        return groups

    @cached_property
    def groups(self) -> np.ndarray:
        """int32 [C]: group of siblings, with the stop beside them: the support of one softmax."""
        return np.concatenate([self.tree.sibling_groups, self.child_groups[list(self.stops)]]).astype(np.int32)

    @cached_property
    def order(self) -> np.ndarray:
        """int64 [C]: the columns, group by group; a group's stop comes last."""
        return np.argsort(self.groups, kind="stable")

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [G]: where each group begins in `order`."""
        return np.searchsorted(self.groups[self.order], np.arange(len(self.tree.sibling_starts)))

    @cached_property
    def level_columns(self) -> tuple[np.ndarray, ...]:
        """The columns chosen among at each level: level_columns[l - 1], categories before stops."""
        return tuple(np.flatnonzero(self.levels == level) for level in range(1, self.tree.depth + 1))

    @cached_property
    def inner_levels(self) -> tuple[np.ndarray, ...]:
        """The inner categories of each level above the deepest, deepest first: for sums from the leaves upward."""
        inner = ~self.tree.is_leaf
        return tuple(np.flatnonzero(inner & (self.tree.levels == level)) for level in range(self.tree.depth - 1, 0, -1))

    @cached_property
    def ends(self) -> np.ndarray:
        """int32 [E]: the columns in which a path may end: leaves, then stops."""
        return np.concatenate([np.flatnonzero(self.tree.is_leaf), np.arange(len(self.tree), len(self))]).astype(np.int32)

    @cached_property
    def may_end(self) -> np.ndarray:
        """bool [N]: categories whose label says all there is to say: leaves, and those with a stop."""
        ends = self.tree.is_leaf.copy()
        ends[list(self.stops)] = True
        return ends

    def end_targets(self, targets: np.ndarray) -> np.ndarray:
        """Taxonomy.targets int [n, D] -> the same, with the stop's column at the level below a label that ends at a category with a stop."""
        table = targets.copy()
        for column, node in enumerate(self.stops, len(self.tree)):
            level = int(self.tree.levels[node])
            table[(targets[:, level - 1] == node) & (targets[:, level] < 0), level] = column
        return table


def labelled_stops(tree: Taxonomy, targets: np.ndarray) -> tuple[int, ...]:
    """The inner categories at which a label in `targets` (int [n, D]) ends."""
    depth = (targets >= 0).sum(axis=1)
    rows = np.flatnonzero(depth)
    deepest = np.unique(targets[rows, depth[rows] - 1])
    return tuple(int(node) for node in deepest[~tree.is_leaf[deepest]])

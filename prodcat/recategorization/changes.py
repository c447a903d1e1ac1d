"""What may be done to a category tree: add, split, merge, move, rename; and a tree with such changes made.

Changes are all stated against the same tree and made together, so their order does not matter; two that speak of the same category, or that would
give one parent two children of one name, are refused by name. A category that goes on under another name or parent keeps its id.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from prodcat.config import Config
from prodcat.errors import TaxonomyError
from prodcat.taxonomy import CategoryPath, Taxonomy, category_id, format_path

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Part(Config):
    """A new category, and the products that are known to belong to it."""

    name: str = Field(min_length=1)
    products: tuple[str, ...] = Field((), description="keys", repr=False)


class Add(Config):
    """A new category below one of the tree, or at the top."""

    kind: Literal["add"] = "add"
    parent: tuple[str, ...] = Field(description="empty: at the top")
    part: Part

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.part,)


class Split(Config):
    """New categories in the place of what one category holds."""

    kind: Literal["split"] = "split"
    path: Names
    parts: tuple[Part, ...] = Field(min_length=1)
    beside: bool = Field(False, description="they stand where the category, a leaf, stood; false: below it, and it stays")


class Merge(Config):
    """Several categories become one. What lies below them lies below it."""

    kind: Literal["merge"] = "merge"
    paths: tuple[Names, ...] = Field(min_length=2)
    into: Names = Field(description="one of them, or a new category")


class Move(Config):
    """A category, with all below it, gets another parent."""

    kind: Literal["move"] = "move"
    path: Names
    parent: tuple[str, ...] = Field(description="empty: to the top")


class Rename(Config):
    """A category gets another name."""

    kind: Literal["rename"] = "rename"
    path: Names
    name: str = Field(min_length=1)


Change = Annotated[Add | Split | Merge | Move | Rename, Field(discriminator="kind")]


@dataclass(frozen=True)
class Changed:
    """A tree with changes made.

    Args:
        tree: the new one.
        forward: id of an old category -> id of the new one that a product labelled with it has, unless it is assigned; None: of no category any more.
        backward: id of a new category -> id of the old one that an old client is answered; None: it has none.
        assigned: key -> id of a new category.
    """

    tree: Taxonomy
    forward: dict[str, str | None]
    backward: dict[str, str | None]
    assigned: dict[str, str]


@dataclass(eq=False)
class _Node:
    """A category on its way from the old tree to the new one. Compared by identity.

    Args:
        stands_for: the old categories whose products it holds.
        old: its id in the old tree; None for a new one.
        into: what it was merged into.
        gone: it gave its place to others.
        products: keys that are assigned to it.
    """

    name: str
    parent: "_Node | None"
    stands_for: list[CategoryPath]
    old: str | None = None
    into: "_Node | None" = None
    gone: bool = False
    products: tuple[str, ...] = ()

    @property
    def above(self) -> "_Node | None":
        """What it lies below once all is done; a category that gave its place away is still there."""
        parent = self.parent
        while parent is not None and parent.into is not None:
            parent = parent.into
        return parent

    @property
    def path(self) -> CategoryPath:
        return (*(self.above.path if self.above is not None else ()), self.name)


def apply(tree: Taxonomy, changes: Sequence[Change]) -> Changed:
    """Make all changes.

    Raises:
        TaxonomyError: a category that is not in the tree, two changes of one category, a category below itself, two siblings of one name, a product
            that two changes assign, or one below a category that gave its place away.
    """
    _no_two_of_one(changes)
    nodes = {category.path: _Node(category.name, None, [category.path], category.id) for category in tree.categories}
    for path, node in nodes.items():
        node.parent = nodes.get(path[:-1])
    made: list[_Node] = []
    for change in changes:
        made += _make(change, tree, nodes)
    staying = [node for node in nodes.values() if node.into is None and not node.gone] + made
    ids = _ids(tree, staying)

    forward: dict[str, str | None] = {}
    for category in tree.categories:
        place: _Node | None = nodes[category.path]
        while place is not None and (place.into is not None or place.gone):
            place = place.into or place.above
        forward[category.id] = ids[place.path] if place is not None else None
    backward: dict[str, str | None] = {}
    assigned: dict[str, str] = {}
    for node in staying:
        shared = _shared(node.stands_for)
        backward[ids[node.path]] = tree.categories[tree.index(shared)].id if shared else None
        for key in node.products:
            if assigned.setdefault(key, ids[node.path]) != ids[node.path]:
                raise TaxonomyError(f"product {key!r} is assigned to two categories, one of them {format_path(node.path)!r}; keep it in one")
    return Changed(Taxonomy(ids, ids), forward, backward, assigned)


def _no_two_of_one(changes: Sequence[Change]) -> None:
    """A category may be added to, and otherwise changed once."""
    spoken: dict[CategoryPath, Change] = {}
    for change in changes:
        paths: Sequence[CategoryPath] = () if isinstance(change, Add) else change.paths if isinstance(change, Merge) else (change.path,)
        for path in paths:
            if (other := spoken.get(path)) is not None:
                raise TaxonomyError(
                    f"{say(change)}, and {say(other)}: both change {format_path(path)!r}; accept one, and propose again on the new tree"
                )
            spoken[path] = change


def _make(change: Change, tree: Taxonomy, nodes: dict[CategoryPath, _Node]) -> list[_Node]:
    """Does to the nodes what the change says -> the new ones."""

    def find(path: CategoryPath) -> _Node:
        if path not in nodes:
            raise TaxonomyError(f"{say(change)}: {format_path(path)!r} is not in the tree (hash {tree.hash[:12]}); propose it again on this tree")
        return nodes[path]

    def below(path: CategoryPath) -> _Node | None:
        return find(path) if path else None

    if isinstance(change, Rename):
        find(change.path).name = change.name
        return []
    if isinstance(change, Move):
        find(change.path).parent = below(change.parent)
        return []
    if isinstance(change, Add):
        return [_Node(change.part.name, below(change.parent), [change.parent] if change.parent else [], products=change.part.products)]
    if isinstance(change, Split):
        own = find(change.path)
        if change.beside and not tree.is_leaf[tree.index(change.path)]:
            raise TaxonomyError(f"{say(change)}: only a leaf can give its place to others; split it below, or merge what lies below it first")
        own.gone = change.beside
        return [_Node(part.name, own.parent if change.beside else own, [change.path], products=part.products) for part in change.parts]
    merged, new = [find(path) for path in change.paths], []
    if change.into in change.paths:
        into = nodes[change.into]
    elif change.into in nodes:
        raise TaxonomyError(f"{say(change)}: {format_path(change.into)!r} is a category of the tree; name it among those that are merged")
    else:
        into = _Node(change.into[-1], below(change.into[:-1]), [])
        new = [into]
    into.stands_for = list(change.paths)
    for node in merged:
        if node is not into:
            node.into = into
    return new


def _ids(tree: Taxonomy, staying: Sequence[_Node]) -> dict[CategoryPath, str]:
    """New path -> id. Raises TaxonomyError for a tree that cannot be."""
    taken = {category.id for category in tree.categories}
    ids: dict[CategoryPath, str] = {}
    for node in staying:
        seen, above = {id(node)}, node.above
        while above is not None:
            if id(above) in seen:
                raise TaxonomyError(f"{node.name!r} would lie below itself; accept one of the changes that say so")
            if above.gone:
                raise TaxonomyError(f"{node.name!r} would lie below {above.name!r}, which gives its place to others; accept one of the two changes")
            seen.add(id(above))
            above = above.above
        if node.path in ids:
            raise TaxonomyError(f"two categories would be {format_path(node.path)!r}; rename one, or merge them, and propose again")
        identifier, salt = node.old, 0
        if identifier is None:
            identifier = category_id(node.path)
            # The id that a path had belongs to the category that has gone on from there.
            while identifier in taken:
                salt += 1
                identifier = category_id((*node.path, f"#{salt}"))
            taken.add(identifier)
        ids[node.path] = identifier
    return ids


def _shared(paths: Sequence[CategoryPath]) -> CategoryPath:
    """The longest path that all begin with."""
    if not paths:
        return ()
    same = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False))
    return tuple(names[0] for names in same)


def say(change: Change) -> str:
    """The change in a few words, for messages and audit."""
    if isinstance(change, Add):
        return f"add {format_path((*change.parent, change.part.name))!r}"
    if isinstance(change, Split):
        return f"split {format_path(change.path)!r} into {', '.join(part.name for part in change.parts)}"
    if isinstance(change, Merge):
        return f"merge {', '.join(repr(format_path(path)) for path in change.paths)} into {format_path(change.into)!r}"
    if isinstance(change, Move):
        return f"move {format_path(change.path)!r} below {format_path(change.parent) or 'the root'!r}"
    return f"rename {format_path(change.path)!r} to {change.name!r}"

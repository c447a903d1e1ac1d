"""Versions of a category tree: which tree there was, what changed it into the next, and how labels and answers of one read in another.

A version's number counts from 1. What a catalog's labels were under version n they are under n + 1 by `Step.forward`, or by a person's assignment.
What a model of version n + 1 answers is told to a client of version n by `Step.backward`: the category it was cut from, or what lay above all that
it was merged from. Nothing is guessed: an answer that has no category in the old tree is said to have none.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from prodcat.config import Config, validate
from prodcat.errors import TaxonomyError
from prodcat.recategorization.changes import Change, Changed, apply, say
from prodcat.taxonomy import CategoryPath, Taxonomy

_FORMAT = 1


class Step(Config):
    """From one version to the next.

    Args:
        old: hash of the tree before; categories: its ids and paths, so that it can be had again.
        new: hash of the tree after.
    """

    old: str
    categories: tuple[tuple[str, tuple[str, ...]], ...] = Field(repr=False)
    new: str
    forward: dict[str, str | None] = Field(repr=False)
    backward: dict[str, str | None] = Field(repr=False)
    changes: tuple[Change, ...] = Field(repr=False)
    by: str = Field(min_length=1, description="who accepted the changes")
    at: str = Field(description="when, ISO 8601 with its offset")

    @property
    def tree(self) -> Taxonomy:
        """The tree before."""
        return Taxonomy([path for _, path in self.categories], {path: identifier for identifier, path in self.categories})


class History(Config):
    """How a tree came about. Empty: it is the first version."""

    steps: tuple[Step, ...] = ()

    @property
    def version(self) -> int:
        return len(self.steps) + 1

    @classmethod
    def load(cls, file: Path) -> "History":
        """Raises TaxonomyError for a file that is no history, or whose steps do not follow on each other."""
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            found, form = document["history"], document["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TaxonomyError(f"{file}: not a history of a taxonomy ({error!r}); `taxonomy apply` writes one") from error
        if form != _FORMAT:
            raise TaxonomyError(f"{file}: a history of format {form}, this prodcat reads {_FORMAT}; apply the proposals again")
        history = validate(cls, found, str(file))
        for before, after in zip(history.steps, history.steps[1:], strict=False):
            if before.new != after.old:
                raise TaxonomyError(f"{file}: a step ends at the tree {before.new[:12]}, the next begins at {after.old[:12]}; it was edited by hand")
        return history

    def save(self, file: Path) -> None:
        document = {"format": _FORMAT, "history": self.model_dump(mode="json")}
        file.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def check(self, tree: Taxonomy, place: str) -> None:
        """Raises TaxonomyError if the last step did not lead to `tree`."""
        if self.steps and self.steps[-1].new != tree.hash:
            raise TaxonomyError(
                f"{place}: its tree has hash {tree.hash[:12]}, its history leads to {self.steps[-1].new[:12]}; one of the two is of another catalog"
            )

    def after(self, tree: Taxonomy, changes: Sequence[Change], *, by: str, at: str) -> tuple["History", Changed]:
        """The history with one more version.

        Args:
            tree: the present one.

        Raises:
            TaxonomyError: nothing is changed, or as `changes.apply`.
        """
        if not changes:
            raise TaxonomyError("no proposal is accepted: there is nothing to change")
        changed = apply(tree, changes)
        step = Step(
            old=tree.hash,
            categories=tuple((category.id, category.path) for category in tree.categories),
            new=changed.tree.hash,
            forward=changed.forward,
            backward=changed.backward,
            changes=tuple(changes),
            by=by,
            at=at,
        )
        return History(steps=(*self.steps, step)), changed

    def tree(self, version: int, present: Taxonomy) -> Taxonomy:
        """Args: present: the tree of the last version. Raises TaxonomyError for a version that never was."""
        if not 1 <= version <= self.version:
            raise TaxonomyError(f"there is no version {version} of the taxonomy; it has the versions 1 to {self.version}")
        return present if version == self.version else self.steps[version - 1].tree

    def backward(self, version: int, present: Taxonomy) -> dict[str, str | None]:
        """Id of a category of the present tree -> id of the one that a client of `version` is answered; None: it has none there."""
        self.tree(version, present)
        found: dict[str, str | None] = {category.id: category.id for category in present.categories}
        for step in reversed(self.steps[version - 1 :]):
            found = {own: step.backward[then] if then is not None else None for own, then in found.items()}
        return found

    def forward(self, version: int, present: Taxonomy) -> dict[str, str | None]:
        """Id of a category of `version` -> id of the present one that a label of it is read as; None: it has none any more."""
        found: dict[str, str | None] = {category.id: category.id for category in self.tree(version, present).categories}
        for step in self.steps[version - 1 :]:
            found = {then: step.forward[own] if own is not None else None for then, own in found.items()}
        return found


def relabel(old: Taxonomy, changed: Changed, keys: Sequence[str], paths: Sequence[Sequence[str] | None]) -> list[CategoryPath | None]:
    """Labels under the old tree -> labels under the new one: as assigned, else as the category went on. None for a product without a label.

    Args:
        keys, paths: of n products.

    Raises:
        TaxonomyError: a label that is not of the old tree.
    """
    found: list[CategoryPath | None] = []
    for key, path in zip(keys, paths, strict=True):
        place = changed.assigned.get(key)
        if place is None and path:
            place = changed.forward[old.categories[old.index(path)].id]
        found.append(changed.tree.categories[changed.tree.index_of_id(place)].path if place is not None else None)
    return found


def diff(step: Step, new: Taxonomy) -> list[dict[str, Any]]:
    """What a step did, category by category: {what, old, new} with what one of added, removed, renamed, moved; unchanged ones are left out.

    A category that only lies below another that was moved or renamed is not told by itself.
    """
    old, found = step.tree, []
    was = {category.id: category for category in old.categories}
    now = {category.id: category for category in new.categories}
    for identifier, category in was.items():
        after = now.get(identifier)
        if after is None:
            target = step.forward[identifier]
            found.append({"what": "removed", "old": str(category), "new": str(now[target]) if target else None})
            continue
        parents = [tree[identifier].path[:-1] for tree in (was, now)]
        same_parent = _id_of(old, parents[0]) == _id_of(new, parents[1])
        if category.name != after.name or not same_parent:
            found.append({"what": "renamed" if same_parent else "moved", "old": str(category), "new": str(after)})
    for identifier, category in now.items():
        if identifier not in was:
            target = step.backward[identifier]
            found.append({"what": "added", "old": str(was[target]) if target else None, "new": str(category)})
    return found


def _id_of(tree: Taxonomy, path: CategoryPath) -> str | None:
    return tree.categories[tree.index(path)].id if path else None


def told(history: History, present: Taxonomy) -> list[str]:
    """The history in lines for a person, newest first."""
    lines = [f"version {history.version}: {len(present)} categories, {present.hash[:12]}"]
    for number in range(len(history.steps), 0, -1):
        step = history.steps[number - 1]
        lines.append(f"version {number}: {len(step.categories)} categories, {step.old[:12]}; then, {step.at}, by {step.by}:")
        lines += [f"  {say(change)}" for change in step.changes]
    return lines


def in_version(path: CategoryPath, tree: Taxonomy, then: dict[str, str | None], old: Taxonomy) -> CategoryPath | None:
    """An answer of the present tree as a client of an older one is told it. Raises TaxonomyError for a path that is not in the tree."""
    target = then[tree.categories[tree.index(path)].id]
    return old.categories[old.index_of_id(target)].path if target is not None else None

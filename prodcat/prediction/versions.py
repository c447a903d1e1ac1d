"""Versions of the category tree before a bundle's own, and the bundle's answers as a client of one of them is told them. Imports no torch.

How the trees came about is not known here: what each category is in each version was worked out when the bundle was made (prodcat/versioning.py).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import Field

from prodcat.config import Config
from prodcat.errors import BundleError
from prodcat.prediction.cascade import Alternative, Answer, Unreadable
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

VERSIONS = "versions.json"
# Why a product has no answer in the version that was asked for; stable, as reasons are.
UNKNOWN_VERSION, NOT_IN_VERSION = "unknown_taxonomy_version", "not_in_taxonomy_version"
_FORMAT = 1

Read = Callable[[CategoryPath], tuple[str, CategoryPath] | None]
"""A category of the present tree -> id and path of what it is in an earlier version; None: it is nothing there."""


class Earlier(Config):
    """One version before the present.

    Args:
        told: id of a category of the present tree -> id and path of the one that stands for it; None: there is none. Categories that are not here are
            what they were.
    """

    told: dict[str, tuple[str, tuple[str, ...]] | None] = Field(repr=False)


class Versions(Config):
    """The versions that a bundle can answer in, counted from 1.

    Args:
        earlier: those before the bundle's own, in order.
    """

    earlier: tuple[Earlier, ...] = ()

    @property
    def present(self) -> int:
        return len(self.earlier) + 1

    def save(self, file: Path) -> None:
        document = {"format": _FORMAT, **self.model_dump(mode="json")}
        file.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path, tree: Taxonomy) -> "Versions":
        """Raises BundleError for a file that is none, or is of another tree."""
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if document.pop("format") != _FORMAT:
                raise BundleError(f"{file}: of another format than {_FORMAT}; rebuild the bundle with `prodcat fit`")
            found = cls.model_validate(document)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{file}: no versions of a tree ({error}); rebuild the bundle with `prodcat fit`") from error
        here = {category.id for category in tree.categories}
        if strange := sorted({identifier for each in found.earlier for identifier in each.told} - here):
            raise BundleError(f"{file}: tells of the category {strange[0]!r}, which is not in the tree; rebuild the bundle with `prodcat fit`")
        return found

    def told(self, result: Answer | Unreadable, version: int | None, tree: Taxonomy) -> Answer | Unreadable:
        """A bundle's answer as it reads in a version; as it is for None and for the present one.

        Confidences stay those of the same statements: what fell apart since adds up again, as far as the alternatives tell. A category that is new is
        answered by the one it was cut from; where there is none, and in a version that never was, there is no answer, and why.

        Args:
            tree: the bundle's.
        """
        if isinstance(result, Unreadable) or version is None or version == self.present:
            return result
        if not 1 <= version <= self.present:
            message = f"there is no version {version} of the taxonomy here; ask for one from 1 to {self.present}, or for none: the last"
            return Unreadable(result.key, UNKNOWN_VERSION, message)
        read = partial(_read, self.earlier[version - 1], tree)
        own = read(result.path)
        if own is None:
            message = (
                f"the product's category {format_path(result.path)!r} has none in version {version} of the taxonomy that stands for it; "
                "ask without taxonomy_version"
            )
            return Unreadable(result.key, NOT_IN_VERSION, message)
        identifier, path = own
        merged: dict[CategoryPath, float] = {}
        for other in result.alternatives:
            if (there := read(other.path)) is not None and there[1] != path:
                merged[there[1]] = merged.get(there[1], 0.0) + other.confidence
        alternatives = tuple(Alternative(names, min(1.0, value)) for names, value in sorted(merged.items(), key=lambda entry: -entry[1]))
        candidates = None
        if result.candidates is not None:
            candidates = tuple(dict.fromkeys(there[1] for each in result.candidates if (there := read(each)) is not None))
        return replace(
            result,
            category_id=identifier,
            path=path,
            confidences=_confidences(result, path, read),
            alternatives=alternatives,
            # Where it stopped may have been a leaf then.
            stopped_at_parent=result.stopped_at_parent and any(_below(names, path) for names in merged),
            candidates=candidates,
            taxonomy_version=version,
        )


def _read(earlier: Earlier, tree: Taxonomy, path: CategoryPath) -> tuple[str, CategoryPath] | None:
    category = tree.categories[tree.index(path)]
    return earlier.told.get(category.id, (category.id, category.path))


def _confidences(answer: Answer, path: CategoryPath, read: Read) -> tuple[float, ...]:
    """Of every level of an earlier tree's path: falls from level to level, as the answer's own."""
    own = [read(answer.path[:level]) for level in range(1, len(answer.path) + 1)]
    others = [(other, there[1]) for other in answer.alternatives if (there := read(other.path)) is not None]
    found: list[float] = []
    for level in range(1, len(path) + 1):
        above = path[:level]
        # The highest category of the answer that says as much; below it nothing is to be counted again.
        depth = next(depth for depth, there in enumerate(own) if there is not None and there[1][:level] == above)
        more = sum(other.confidence for other, names in others if names[:level] == above and not _same(other.path, answer.path, depth + 1))
        found.append(min(found[-1] if found else 1.0, answer.confidences[depth] + more))
    return tuple(found)


def _same(one: Sequence[str], other: Sequence[str], levels: int) -> bool:
    return one[:levels] == other[:levels]


def _below(path: CategoryPath, above: CategoryPath) -> bool:
    return len(path) > len(above) and path[: len(above)] == above

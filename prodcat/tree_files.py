"""Category trees as they are published, read into a Taxonomy, and cut to a part. Knows the formats and no product.

prodcat's own     .json, as Taxonomy.save writes it
Google            taxonomy-with-ids.en-US.txt: "166 - Apparel & Accessories"; or the same without ids
Shopify, text     dist/en/categories.txt: "gid://shopify/TaxonomyCategory/aa-1 : Apparel & Accessories > Clothing"
Shopify, JSON     dist/en/categories.json: {"version", "verticals": [{"name", "prefix", "categories": [{"id", "full_name", ...}]}]}
plain             a line a category, "A > B > C"
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from prodcat.errors import TaxonomyError
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path, parse_path

_FORMS = "a tree is prodcat's own .json, Google's or Shopify's published text, Shopify's categories.json, or lines 'A > B > C' in UTF-8"
# Text all the same, and each line of it would pass for a category.
_OTHERS = (".csv", ".tsv", ".yaml", ".yml", ".xml", ".html", ".htm", ".jsonl", ".ndjson")


def read_tree(path: str | Path) -> Taxonomy:
    """A file in any of the forms above; told by its content.

    Raises:
        TaxonomyError: names file, and line or category: not readable, none of the forms, or no tree.
    """
    if PurePath(path).suffix.lower() in _OTHERS:
        raise TaxonomyError(f"{path}: not a tree; {_FORMS}")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TaxonomyError(f"{path}: cannot be read ({error}); {_FORMS}") from error
    if str(path).endswith(".json") or text.lstrip().startswith(("{", "[")):
        return _from_json(text, path)
    if text.lstrip().startswith("<"):
        raise TaxonomyError(f"{path}: is a page or XML, not a tree; {_FORMS}")
    lines = text.splitlines()
    if all(not line.strip() or line.lstrip().startswith("#") for line in lines):
        raise TaxonomyError(f"{path}: holds no category; {_FORMS}")
    return Taxonomy.from_lines(lines, source=str(path))


def _from_json(text: str, path: str | Path) -> Taxonomy:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise TaxonomyError(f"{path}: not JSON ({error}); {_FORMS}") from error
    if isinstance(document, dict) and "verticals" in document:
        return _from_shopify(document, str(path))
    if isinstance(document, dict) and "hash" in document:
        return Taxonomy.load(path)
    found = sorted(document)[:8] if isinstance(document, dict) else type(document).__name__
    raise TaxonomyError(f"{path}: neither prodcat's own tree (hash, categories) nor Shopify's (version, verticals), found {found}; {_FORMS}")


def _from_shopify(document: dict[str, Any], source: str) -> Taxonomy:
    ids: dict[CategoryPath, str] = {}
    try:
        entries = [(str(entry["id"]), str(entry["name"]), str(entry["full_name"])) for part in document["verticals"] for entry in part["categories"]]
    except (KeyError, TypeError) as error:
        raise TaxonomyError(
            f"{source}: a vertical or category lacks {error}; expected are categories with id, name and full_name, as published"
        ) from error
    for identifier, name, full_name in entries:
        try:
            path = parse_path(full_name)
        except TaxonomyError as error:
            raise TaxonomyError(f"{source}, category {identifier}: {error}") from None
        if path[-1] != name.strip():
            raise TaxonomyError(
                f"{source}, category {identifier}: its full_name {full_name!r} does not end in its name {name!r}; take the file as published"
            )
        if ids.setdefault(path, identifier) != identifier:
            raise TaxonomyError(f"{source}, category {identifier}: {full_name!r} has the id {ids[path]!r} too; ids must be unique")
    if not ids:
        raise TaxonomyError(f"{source}: holds no category; take the file as published")
    return Taxonomy(ids, ids)


def below(tree: Taxonomy, path: Sequence[str]) -> Taxonomy:
    """A category, what lies above it and all below it. Paths and ids stay as they are, so labels and feeds that name them still fit.

    Raises:
        TaxonomyError: the category is not in the tree.
    """
    chosen = tree.categories[tree.index(path)].path
    kept = [category for category in tree.categories if category.path[: len(chosen)] == chosen]
    ids = {category.path: category.id for category in [*kept, *(tree.categories[tree.index(chosen[:level])] for level in range(1, len(chosen)))]}
    return Taxonomy(ids, ids)


def import_tree(file: Path, out: Path, path: CategoryPath | None = None) -> Taxonomy:
    """A tree in any form, or its part at `path`, written as prodcat's own file. Raises TaxonomyError as `read_tree` and `below` do."""
    tree = read_tree(file)
    tree = below(tree, path) if path is not None else tree
    out.parent.mkdir(parents=True, exist_ok=True)
    tree.save(out)
    return tree


def tree_lines(tree: Taxonomy, show: int = 5) -> list[str]:
    """A tree for a person: counts a level, the first level's categories with what lies below them, some leaves of the deepest level."""
    lines = [f"{len(tree):,} categories, {int(tree.is_leaf.sum()):,} leaves, {tree.depth} levels, hash {tree.hash[:12]}"]
    for level, columns in enumerate(tree.level_slices, 1):
        leaves = int(tree.is_leaf[columns].sum())
        lines.append(f"level {level}: {columns.stop - columns.start:,} categories, {leaves:,} of them leaves")
    top = tree.path_indices[:, 0]
    tops = range(tree.level_slices[0].stop)
    lines += [f"  {tree.categories[node].name}: {int((top == node).sum()) - 1:,} below, id {tree.categories[node].id}" for node in tops[:show]]
    lines += [f"  and {len(tops) - show:,} more"] if len(tops) > show else []
    deepest = tree.level_slices[-1]
    return [*lines, f"the first of level {tree.depth}: {format_path(tree.categories[deepest.start].path)}"]

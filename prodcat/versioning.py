"""`taxonomy apply`, `relabel`, `diff`, `history`: a catalog under another version of its tree, and what lies between two. Starts no cluster.

A catalog is never changed in place: the one of the version before is what labels, bundles and old clients still refer to.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prodcat.catalog import store
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, SPLITS, enforce
from prodcat.errors import FeedError, TaxonomyError
from prodcat.prediction.versions import Earlier, Versions
from prodcat.recategorization.changes import Change, Changed, apply
from prodcat.recategorization.versions import History, Step, diff, relabel
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

# How a label came about that a person gave by accepting a proposal (PRODUCTS.label_source).
BY_PROPOSAL = "proposal"
_EXAMPLES = 5

Relabel = Callable[[Sequence[str], Sequence[CategoryPath | None]], list[CategoryPath | None]]
"""Keys and labels of n products -> labels in another tree."""


@dataclass(frozen=True)
class Relabelled:
    """A catalog that was written.

    Args:
        changed: products whose label reads otherwise now; assigned: of these, by an accepted proposal.
        lost: the first keys of the products that have no label any more; lost_products: how many there are.
        missing: products of the accepted proposals that the catalog does not hold any more.
        products: category of the new tree that is new -> products in it or below.
    """

    catalog: Catalog
    history: History
    changed: int
    assigned: int
    lost: tuple[str, ...]
    lost_products: int
    missing: int
    products: dict[str, int]

    def lines(self) -> list[str]:
        """For printing."""
        lines = [f"version {self.history.version} of the taxonomy: {self.changed:,} products relabelled, {self.assigned:,} of them by the proposals"]
        lines += [f"  new: {name}: {count:,} products" for name, count in self.products.items()]
        if self.lost_products:
            more = ", ..." if self.lost_products > len(self.lost) else ""
            lines.append(f"{self.lost_products:,} products have no label any more: {', '.join(self.lost)}{more}")
        if self.missing:
            lines.append(f"{self.missing:,} products of the proposals are not in the catalog any more")
        return lines


def history_of(catalog: Catalog) -> History:
    """Raises TaxonomyError for a history that leads to another tree than the catalog's."""
    history = History.load(catalog.history) if catalog.history is not None else History()
    history.check(tree_of(catalog), str(catalog.path))
    return history


def tree_of(catalog: Catalog) -> Taxonomy:
    """Raises TaxonomyError for a catalog without one."""
    if catalog.taxonomy is None:
        raise TaxonomyError(f"{catalog.path}: it has no tree, for no product is labelled; ingest with --taxonomy")
    return catalog.taxonomy


def apply_changes(catalog: Catalog, base: str, changes: Sequence[Change], out: Path, *, by: str, at: str) -> Relabelled:
    """The catalog under the next version of its tree, written to OUT: products keep their split and group, content and place.

    Args:
        base: hash of the tree that the changes are stated against.
        out: new or empty.
        by: who accepted them; at: when, ISO 8601.

    Raises:
        TaxonomyError: the catalog's tree is another, the changes contradict each other, or there are none.
        FeedError: OUT holds something.
    """
    tree = tree_of(catalog)
    if tree.hash != base:
        raise TaxonomyError(
            f"{catalog.path}: its tree has hash {tree.hash[:12]}, the proposals were made on {base[:12]}: the tree changed meanwhile; "
            "propose again with `prodcat recategorize`"
        )
    history, changed = history_of(catalog).after(tree, changes, by=by, at=at)
    return _written(catalog, out, history, changed.tree, changed.assigned, lambda keys, paths: relabel(tree, changed, keys, paths), tree)


def bring_forward(catalog: Catalog, versioned: Catalog, out: Path, *, version: int | None = None) -> Relabelled:
    """A catalog whose labels are of an earlier version, such as a feed that is still labelled by it, under the present version, written to OUT.

    Args:
        versioned: has the present tree, and its history.
        version: what the labels are of; None: told by the catalog's tree.
        out: new or empty.

    Raises:
        TaxonomyError: the version cannot be told, or there is none such, or a label is not of it.
        FeedError: OUT holds something.
    """
    present, history = tree_of(versioned), history_of(versioned)
    number = version if version is not None else _version_of(catalog, history, present)
    tree = history.tree(number, present)
    steps = [(step.tree, _changed(step)) for step in history.steps[number - 1 :]]
    assigned: dict[str, str] = {}
    for _, changed in steps:
        assigned |= changed.assigned

    def forward(keys: Sequence[str], paths: Sequence[CategoryPath | None]) -> list[CategoryPath | None]:
        for path in filter(None, paths):
            tree.index(path)
        found = list(paths)
        for old, changed in steps:
            found = relabel(old, changed, keys, found)
        return found

    return _written(catalog, out, history, present, assigned, forward, tree)


def _changed(step: Step) -> Changed:
    changed = apply(step.tree, step.changes)
    if changed.tree.hash != step.new:
        raise TaxonomyError(f"a step of the history does not lead from {step.old[:12]} to {step.new[:12]} by its own changes; it was edited by hand")
    return changed


def _version_of(catalog: Catalog, history: History, present: Taxonomy) -> int:
    tree = tree_of(catalog)
    for number in range(history.version, 0, -1):
        if history.tree(number, present) == tree:
            return number
    labels = {tuple(path) for path in catalog.products(["path"])["path"].to_pylist() if path}
    fitting = [str(number) for number in range(1, history.version + 1) if all(label in history.tree(number, present) for label in labels)]
    known = f"all its labels are known to version {' and to '.join(fitting)}" if fitting else "none knows all its labels"
    raise TaxonomyError(f"{catalog.path}: its tree is that of no version from 1 to {history.version}; {known}: name one with --from")


def _written(catalog: Catalog, out: Path, history: History, tree: Taxonomy, assigned: Collection[str], read: Relabel, before: Taxonomy) -> Relabelled:
    """Part file by part file; at no moment is more than one in memory, but for keys, digests and labels."""
    out = out.absolute()
    if store.earlier_splits(out):
        raise FeedError(f"{out}: holds a catalog; choose a new folder, for the catalog of the version before is still needed")
    incoming = store.begin(out)
    try:
        index: list[pa.Table] = []
        changed = by_proposal = lost = seen = 0
        lost_keys: list[str] = []
        counts: Counter[CategoryPath] = Counter()
        for file in catalog.product_files():
            table = pq.read_table(file, partitioning=None).cast(PRODUCTS)
            keys, sources = table["key"].to_pylist(), table["label_source"].to_pylist()
            old = [tuple(path) if path else None for path in table["path"].to_pylist()]
            new = read(keys, old)
            for row, (key, was, now) in enumerate(zip(keys, old, new, strict=True)):
                seen += key in assigned
                counts.update(now[: level + 1] for level in range(len(now or ())) if now is not None)
                if was == now:
                    continue
                changed += 1
                if now is None:
                    lost += 1
                    lost_keys += [key] if len(lost_keys) < _EXAMPLES else []
                    sources[row] = None
                elif key in assigned:
                    by_proposal += 1
                    sources[row] = BY_PROPOSAL
            for name, values in (("path", new), ("label_source", sources)):
                table = table.set_column(table.column_names.index(name), PRODUCTS.field(name), pa.array(values, PRODUCTS.field(name).type))
            index.append(table.select(["key", "digest", "path"]))
            pq.write_table(enforce(table, PRODUCTS, "taxonomy"), incoming / "products" / Path(file).name, compression="zstd")
        for file in catalog.rejected_files():
            shutil.copyfile(file, incoming / "rejected" / Path(file).name)
        if history.steps:
            history.save(incoming / store.HISTORY)
        whole = pa.concat_tables(index)
        summary = {**catalog.summary(), "labelled": whole.num_rows - whole["path"].null_count}
        splits = enforce(catalog.splits(), SPLITS, "taxonomy")
        store.publish(out, tree, splits, store.content_digest(whole), summary, catalog.config())
    except BaseException:
        store.abandon(out)
        raise
    were = {category.id for category in before.categories}
    products = {str(category): counts[category.path] for category in tree.categories if category.id not in were}
    return Relabelled(Catalog.open(out), history, changed, by_proposal, tuple(lost_keys), lost, len(assigned) - seen, products)


def differences(old: Catalog, new: Catalog) -> list[dict[str, Any]]:
    """What changed between the trees of two catalogs: {what, old, new, had, has}, where had and has are products at a category or below it.

    What became of a category is told by the new catalog's history where the old tree is one of its versions, else by ids alone.
    """
    before, after, history = tree_of(old), tree_of(new), history_of(new)
    versions = [number for number in range(1, history.version + 1) if history.tree(number, after) == before]
    rows = diff(_step(before, after, history, versions[-1] if versions else None), after)
    had, has = _products(old), _products(new)
    return [{**row, "had": had.get(row["old"]), "has": has.get(row["new"])} for row in rows]


def differences_of_versions(catalog: Catalog, first: int, last: int) -> list[dict[str, Any]]:
    """The same between two versions of one catalog's tree; products are known of the last version alone, else None.

    Raises:
        TaxonomyError: a version that never was, or the first is not before the last.
    """
    present, history = tree_of(catalog), history_of(catalog)
    before, after = history.tree(first, present), history.tree(last, present)
    if first >= last:
        raise TaxonomyError(f"--from {first} --to {last}: name an earlier and a later version")
    rows = diff(_step(before, after, History(steps=history.steps[: last - 1]), first), after)
    has = _products(catalog) if last == history.version else {}
    return [{**row, "had": None, "has": has.get(row["new"], 0 if has and row["new"] else None)} for row in rows]


def difference_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """For printing."""
    if not rows:
        return ["no difference"]
    cells = [["", "before", "after", "products before", "after"]]
    cells += [[row["what"], row["old"] or "", row["new"] or "", *("" if row[n] is None else f"{row[n]:,}" for n in ("had", "has"))] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    # Names to the left, numbers to the right.
    aligned = [[cell.rjust(widths[column]) if column > 2 else cell.ljust(widths[column]) for column, cell in enumerate(line)] for line in cells]
    return ["  ".join(line).rstrip() for line in aligned]


def _step(before: Taxonomy, after: Taxonomy, history: History, version: int | None) -> Step:
    """All that lies between two trees as one step."""
    if version is not None:
        forward, backward = history.forward(version, after), history.backward(version, after)
    else:
        forward, backward = ({one.id: one.id if one.id in others else None for one in tree.categories} for tree, others in _both(before, after))
    categories = tuple((category.id, category.path) for category in before.categories)
    return Step(old=before.hash, categories=categories, new=after.hash, forward=forward, backward=backward, changes=(), by="-", at="-")


def _both(before: Taxonomy, after: Taxonomy) -> list[tuple[Taxonomy, set[str]]]:
    ids = [{category.id for category in tree.categories} for tree in (before, after)]
    return [(before, ids[1]), (after, ids[0])]


def _products(catalog: Catalog) -> dict[str, int]:
    """Category, as text -> labelled products at it or below."""
    counts: Counter[str] = Counter()
    for path in catalog.products(["path"])["path"].to_pylist():
        counts.update(format_path(path[: level + 1]) for level in range(len(path or ())))
    return {str(category): counts[str(category)] for category in tree_of(catalog).categories}


def versions_of(history: History, tree: Taxonomy) -> Versions:
    """What a bundle of the present tree has to know to answer in every earlier version. A category that was gone meanwhile and is back in its place
    (the id of a new category is that of its path) is itself."""
    found = []
    for number in range(1, history.version):
        then, backward = history.tree(number, tree), history.backward(number, tree)
        told: dict[str, tuple[str, tuple[str, ...]] | None] = {}
        for category in tree.categories:
            back = category.path in then and then.categories[then.index(category.path)].id == category.id
            target = category.id if back else backward[category.id]
            old = then.categories[then.index_of_id(target)] if target is not None else None
            if old is None or (old.id, old.path) != (category.id, category.path):
                told[category.id] = (old.id, old.path) if old is not None else None
        found.append(Earlier(told=told))
    return Versions(earlier=tuple(found))

"""A review under way: proposals, what was decided on them so far, and the products of the catalog that they speak of. Knows no HTTP.

Products are kept as Arrow columns, never as objects: a page of them is looked up when it is asked for. What others append to the trail is taken in
before every answer.
"""

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prodcat.catalog.store import Catalog
from prodcat.errors import FeedError, ReviewError, TaxonomyError
from prodcat.recategorization.changes import Add, Change, Merge, Split, apply, say
from prodcat.recategorization.decisions import TRAIL, Decision, Entry, State, Trail, advance, decide, fold, read_decided, told
from prodcat.recategorization.versions import History, diff
from prodcat.reviewing.pictures import Pictures
from prodcat.taxonomy import CategoryPath, format_path

INDEX, TABLE, MAP = "recategorization.json", "products.parquet", "map.png"
OUT = "out"
_COLUMNS = ("key", "platform", "title", "path", "image_hash", "image_problem")


@dataclass(frozen=True)
class Place:
    """A branch that proposals were made of: its path, and the folder of its map."""

    path: CategoryPath
    folder: Path


def later_catalogs(folder: Path) -> list[Path]:
    """The catalogs whose new products `assign` has placed since, as far as they are still there."""
    return [place for each in _index(folder).get("assigned", []) if (place := Path(each)).is_dir()]


def catalog_of(folder: Path) -> Path:
    """The catalog folder that the proposals were made of. Raises ReviewError if the folder does not say."""
    named = _index(folder).get("catalog")
    if not isinstance(named, str):
        raise ReviewError(f"{folder / INDEX}: does not say which catalog the proposals are of; name it with --catalog")
    return Path(named)


class Review:
    """
    Args:
        folder: as `recategorize` writes it.
        catalog: whose products the proposals speak of.
        later: of new products that were assigned since.

    Raises:
        ReviewError: proposals or trail that cannot be read, or do not belong together.
        FeedError: a file of the catalog is damaged.
    """

    def __init__(self, folder: Path, catalog: Catalog, later: Sequence[Catalog] = ()) -> None:
        self.folder = folder
        self.trail = Trail(folder / TRAIL)
        self.repaired = self.trail.repair()
        decided = read_decided(folder)
        self.base, self.tree = decided.base, decided.tree
        self._proposals = {proposal.id: proposal for proposal in decided.proposals}
        self._states = fold(decided.proposals, [])
        self._digests: dict[str, str] = {}
        self._folded = 0
        self._lock = threading.Lock()
        index = _index(folder)
        self.places = [Place(tuple(each["path"]), folder / each["folder"]) for each in index.get("branches", []) if "folder" in each]
        self.warnings: list[str] = []
        if index.get("catalog_digest") not in (None, catalog.digest):
            self.warnings.append("The catalog has changed since these proposals were made; products may be missing or have other labels.")
        if self.repaired:
            self.warnings.append(self.repaired)
        catalogs = [catalog, *later]
        self._products = pa.concat_tables([each.products(_COLUMNS) for each in catalogs])
        self.pictures = Pictures(catalogs, self._products["key"].to_pylist())
        labels = self._products["path"]
        self._labels = pc.if_else(pc.is_valid(labels), pc.binary_join(labels, " > "), None).combine_chunks().dictionary_encode()
        self._how = _decisions(folder / TABLE)
        self._preview: tuple[int, dict[str, Any]] | None = None

    # ---- states --------------------------------------------------------------------------------------------------------------------

    def states(self) -> tuple[dict[str, State], int]:
        """Id -> state, and the number of the trail's last entry."""
        with self._lock:
            entries = self.trail.read()
            for entry in entries[self._folded :]:
                advance(self._states, entry, self._digests)
                self._folded += 1
            return dict(self._states), self._folded

    def state(self, identifier: str) -> tuple[State, int]:
        """Raises ReviewError for an unknown proposal."""
        states, number = self.states()
        if identifier not in states:
            raise ReviewError(f"there is no proposal {identifier!r}; `prodcat review {self.folder.name} --table` lists them")
        return states[identifier], number

    def decide(self, decision: Decision, seen: int | None) -> Entry:
        """As decisions.decide."""
        self.state(decision.proposal)
        return decide(self.trail, self._proposals[decision.proposal], decision, seen=seen)

    # ---- products ------------------------------------------------------------------------------------------------------------------

    def groups(self, state: State) -> list[tuple[str, str]]:
        """(name of the group for `keys`, what a person reads) of the groups of products that a proposal speaks of."""
        change = state.proposal.change
        if isinstance(change, Add | Split):
            return [(str(number), name) for number, name in enumerate(state.names)]
        paths = change.paths if isinstance(change, Merge) else (change.path,)
        return [(str(number), format_path(path)) for number, path in enumerate(paths)]

    def keys(self, state: State, group: str) -> Sequence[str]:
        """Keys of a group, exemplars first; `OUT`: those taken out. Raises ReviewError for a group that the proposal does not have."""
        if group == OUT:
            return state.out
        names = [name for name, _ in self.groups(state)]
        if group not in names:
            raise ReviewError(f"proposal {state.proposal.id}: there is no group of products {group!r}; it has {', '.join(names)} and {OUT}")
        number, change, evidence = int(group), state.proposal.change, state.proposal.evidence
        if isinstance(change, Add | Split):
            keys: Sequence[str] = state.products[number]
        else:
            keys = self._labelled((change.paths if isinstance(change, Merge) else (change.path,))[number])
        here = set(keys)
        # One evidence a part; what has no parts has one for all that it speaks of.
        first = [key for key in evidence[min(number, len(evidence) - 1)].get("exemplars", []) if key in here] if evidence else []
        chosen = set(first)
        return [*first, *(key for key in keys if key not in chosen)]

    def _labelled(self, path: CategoryPath) -> list[str]:
        """Keys of products labelled with a category or below it, in source order."""
        own = format_path(path)
        names = self._labels.dictionary.to_pylist()
        inside = np.array([name == own or name.startswith(own + " > ") for name in names] or [False])
        codes = self._labels.indices.fill_null(len(inside)).to_numpy()
        rows = np.flatnonzero(np.append(inside, False)[codes])
        return self._products["key"].take(pa.array(rows)).to_pylist()

    def matching(self, keys: Sequence[str], text: str) -> Sequence[str]:
        """The keys whose title, key or label holds the text, whatever its case."""
        wanted = text.casefold()
        return [product["key"] for product in self.products(keys) if wanted in _searched(product)] if wanted else keys

    def products(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """{key, platform, title, label, image, how, known} of products; `image`: there may be one, `how`: the decisions that placed it."""
        rows = [self.pictures.row(key) for key in keys]
        found = self._products.take(pa.array([row for row in rows if row is not None], pa.int64())).to_pylist()
        listed, known = [], iter(found)
        for key, row in zip(keys, rows, strict=True):
            product = next(known) if row is not None else {}
            listed.append(
                {
                    "key": key,
                    "platform": product.get("platform"),
                    "title": product.get("title"),
                    "label": format_path(product["path"]) if product.get("path") else None,
                    # A flat image has no hash: only where ingestion named a problem is there surely none.
                    "image": row is not None and product["image_problem"] is None,
                    "how": self._how.get(key),
                    "known": row is not None,
                }
            )
        return listed

    # ---- what people read ----------------------------------------------------------------------------------------------------------

    def place(self, change: Change) -> Place | None:
        """The branch that a change is of: the deepest one at or above it."""
        path = subject(change)
        above = [place for place in self.places if path[: len(place.path)] == place.path]
        return max(above, key=lambda place: len(place.path), default=None)

    def line(self, state: State) -> dict[str, Any]:
        """A proposal in the list."""
        change, place = state.proposal.change, self.place(state.proposal.change)
        last = next((entry for entry in reversed(state.entries) if entry.action in ("accept", "reject", "reopen")), None)
        products = sum(map(len, state.products)) if state.products else sum(each.get("products", 0) for each in state.proposal.evidence)
        return {
            "id": state.proposal.id,
            "kind": change.kind,
            "change": say(state.change or change),
            "category": format_path(subject(change)),
            "branch": format_path(place.path) if place else None,
            "reason": state.proposal.reason,
            "status": state.status,
            "products": products,
            "parts": len(state.names) if state.products else 0,
            "notes": len(state.notes),
            "edited": any(entry.action in ("rename", "move") for entry in state.entries),
            "by": last.by if last else None,
            "at": last.at if last else None,
        }

    def preview(self) -> dict[str, Any]:
        """{categories, before, changes, conflicts, tree}: the tree after the accepted changes that go together, and why the others do not."""
        states, number = self.states()
        if self._preview is None or self._preview[0] != number:
            self._preview = (number, self._previewed([state for state in states.values() if state.status == "accepted"]))
        return self._preview[1]

    def _previewed(self, accepted: Sequence[State]) -> dict[str, Any]:
        kept: list[State] = []
        conflicts: list[dict[str, str]] = []
        self._keep(kept, accepted, conflicts)
        changes = [state.change for state in kept if state.change is not None]
        found: dict[str, Any] = {"before": len(self.tree), "categories": len(self.tree), "accepted": len(accepted), "conflicts": conflicts}
        if not changes:
            return {**found, "changes": [], "assigned": 0, "tree": [str(category) for category in self.tree.categories]}
        history, changed = History().after(self.tree, changes, by="preview", at="")
        return {
            **found,
            "categories": len(changed.tree),
            "changes": diff(history.steps[0], changed.tree),
            "assigned": len(changed.assigned),
            "tree": sorted(str(category) for category in changed.tree.categories),
        }

    def _keep(self, kept: list[State], more: Sequence[State], conflicts: list[dict[str, str]]) -> None:
        """Add to `kept` what goes together with it. Halves what does not: hundreds of accepted changes are tried a few times, not each by itself."""
        if not more:
            return
        try:
            apply(self.tree, [state.change for state in (*kept, *more) if state.change is not None])
        except TaxonomyError as error:
            if len(more) == 1:
                conflicts.append({"id": more[0].proposal.id, "change": say(more[0].change or more[0].proposal.change), "why": str(error)})
                return
            self._keep(kept, more[: len(more) // 2], conflicts)
            self._keep(kept, more[len(more) // 2 :], conflicts)
        else:
            kept.extend(more)


def subject(change: Change) -> CategoryPath:
    """The category that a change speaks of first; empty for one added at the top."""
    if isinstance(change, Add):
        return change.parent
    return change.paths[0] if isinstance(change, Merge) else change.path


def entry_line(entry: Entry, names: Sequence[str] = ()) -> dict[str, Any]:
    """An entry as people read it. Args: names: of the proposal's parts."""
    said = told(entry)
    if entry.action in ("move", "rename") and names:
        where = [names[part] if part is not None and part < len(names) else None for part in (entry.part, entry.to)]
        if entry.action == "move":
            said = f"moved {len(entry.products)} from {where[0] or 'those taken out'} " + (f"to {where[1]}" if where[1] else "out")
    return {"n": entry.n, "at": entry.at, "by": entry.by, "proposal": entry.proposal, "action": entry.action, "told": said, "note": entry.note}


def counted(values: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return found


def _searched(product: dict[str, Any]) -> str:
    return "\n".join(product[name] or "" for name in ("title", "key", "label")).casefold()


def _index(folder: Path) -> dict[str, Any]:
    """recategorization.json; empty if there is none: proposals may be written by hand."""
    file = folder / INDEX
    if not file.is_file():
        return {}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(document, dict)
    except (OSError, ValueError, AssertionError) as error:
        raise ReviewError(f"{file}: cannot be read ({error!r}); run `prodcat recategorize` again") from error
    return document


def _decisions(file: Path) -> dict[str, str]:
    """Key -> the decisions that placed the product, where `recategorize` wrote them."""
    if not file.is_file():
        return {}
    try:
        table = pq.read_table(file, columns=["key", "decisions"])
    except (OSError, pa.ArrowException) as error:
        raise FeedError(f"{file}: cannot be read ({error}); run `prodcat recategorize` again") from error
    return dict(zip(table["key"].to_pylist(), table["decisions"].to_pylist(), strict=True))

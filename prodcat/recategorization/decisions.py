"""What a review has made of proposals: the entries of a trail folded into a state a proposal, and the changes that were accepted. Reads pictures and
catalogs nowhere.

A proposal is open until it is accepted or rejected, and is edited only while it is open: what was accepted is what stands; to edit it, reopen it.
Names of new categories can be edited, and products moved between the parts of an Add or Split or taken out of them: those keep the label that they
have. A part that lost all its products is not made.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from prodcat.errors import Outdated, ReviewError
from prodcat.recategorization.changes import Add, Change, Merge, Move, Part, Rename, Split, say
from prodcat.recategorization.proposal_file import load_proposals
from prodcat.recategorization.proposals import Proposal
from prodcat.recategorization.trail import Action, Decision, Entry, Trail
from prodcat.taxonomy import Taxonomy

__all__ = [
    "TRAIL",
    "Action",
    "Decided",
    "Decision",
    "Entry",
    "State",
    "Status",
    "Trail",
    "accepted",
    "advance",
    "decide",
    "fold",
    "read_decided",
    "told",
]

TRAIL, TREE = "trail.jsonl", "taxonomy.json"
NAME_LENGTH = 200
Status = Literal["open", "accepted", "rejected"]


@dataclass(frozen=True)
class State:
    """A proposal as it stands. P parts: those of an Add or Split; a Rename and a Merge have one name and no parts, a Move has neither.

    Args:
        names: as edited; P, or the one.
        products: P times keys, as moved.
        out: keys of products that were taken out.
        entries: what was decided on it, oldest first.
    """

    proposal: Proposal
    status: Status
    names: tuple[str, ...]
    products: tuple[tuple[str, ...], ...]
    out: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, proposal: Proposal) -> "State":
        """Before anything is decided. Raises ReviewError for a product that stands twice."""
        change = proposal.change
        if isinstance(change, Add | Split):
            twice = [key for key, count in Counter(key for part in change.parts for key in part.products).items() if count > 1]
            if twice:
                raise ReviewError(f"proposal {proposal.id}: product {twice[0]!r} stands in it twice; propose again")
            return cls(proposal, "open", tuple(part.name for part in change.parts), tuple(part.products for part in change.parts))
        names = (change.name,) if isinstance(change, Rename) else (change.into[-1],) if isinstance(change, Merge) else ()
        return cls(proposal, "open", names, ())

    @property
    def notes(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.note]

    @cached_property
    def change(self) -> Change | None:
        """The change as it stands; None: no product is left for it."""
        change = self.proposal.change
        if isinstance(change, Move):
            return change
        if isinstance(change, Rename):
            return change.model_copy(update={"name": self.names[0]})
        if isinstance(change, Merge):
            return change.model_copy(update={"into": (*change.into[:-1], self.names[0])})
        kept = tuple(
            Part(name=name, products=products)
            for name, products, was in zip(self.names, self.products, change.parts, strict=True)
            if products or not was.products
        )
        if not kept:
            return None
        return change.model_copy(update={"part": kept[0]} if isinstance(change, Add) else {"parts": kept})

    def after(self, entry: Decision) -> "State":
        """The state once `entry` is decided; an Entry is also kept in `entries`.

        Raises:
            ReviewError: it does not fit the proposal, or the proposal is not open.
        """
        made = self._after(entry)
        return replace(made, entries=(*self.entries, entry)) if isinstance(entry, Entry) else made

    def _after(self, entry: Decision) -> "State":
        where = f"proposal {self.proposal.id}"
        if entry.action == "note":
            if not (entry.note or "").strip():
                raise ReviewError(f"{where}: the note is empty; write one")
            return self
        if entry.action == "reopen":
            if self.status == "open":
                raise ReviewError(f"{where}: is open; there is nothing to reopen")
            return replace(self, status="open")
        if self.status != "open":
            raise ReviewError(f"{where}: is {self.status}; reopen it before it is changed")
        if entry.action == "reject":
            return replace(self, status="rejected")
        if entry.action == "rename":
            return replace(self, names=self._renamed(entry, where))
        if entry.action == "move":
            return self._moved(entry, where)
        change = self.change
        if change is None:
            raise ReviewError(f"{where}: no product is left in it; reject it, or move products back")
        if isinstance(change, Add | Split):
            twice = [name for name, count in Counter(part.name for part in change.parts).items() if count > 1]
            if twice:
                raise ReviewError(f"{where}: two parts are named {twice[0]!r}; rename one, or move the products of one to the other")
        return replace(self, status="accepted")

    def _renamed(self, entry: Decision, where: str) -> tuple[str, ...]:
        name = (entry.name or "").strip()
        if not name or len(name) > NAME_LENGTH or ">" in name or not name.isprintable():
            raise ReviewError(f"{where}: {entry.name!r} cannot be a category's name; give 1 to {NAME_LENGTH} letters on one line, without '>'")
        if not self.names:
            raise ReviewError(f"{where}: {say(self.proposal.change)}: makes no name that could be edited")
        if not self.products:
            if entry.part is not None:
                raise ReviewError(f"{where}: {say(self.proposal.change)}: has no parts; leave the part out")
            return (name,)
        part = self._part(entry.part, where)
        return (*self.names[:part], name, *self.names[part + 1 :])

    def _moved(self, entry: Decision, where: str) -> "State":
        if not self.products:
            raise ReviewError(f"{where}: {say(self.proposal.change)}: has no parts that products could be moved between")
        if not entry.products:
            raise ReviewError(f"{where}: no product to move; name some")
        if entry.part == entry.to:
            raise ReviewError(f"{where}: the products would stay where they are; choose another part")
        source = self.out if entry.part is None else self.products[self._part(entry.part, where)]
        moving = frozenset(entry.products)
        missing = moving.difference(source)
        if missing:
            place = "among those taken out" if entry.part is None else f"in part {entry.part} ({self.names[entry.part]!r})"
            raise ReviewError(f"{where}: product {min(missing)!r} is not {place}; look at the proposal again")
        places: list[tuple[str, ...]] = [*self.products, self.out]
        to = len(self.products) if entry.to is None else self._part(entry.to, where)
        here = len(self.products) if entry.part is None else entry.part
        places[here] = tuple(key for key in source if key not in moving)
        # In the order in which they stood, not in which they were named.
        places[to] = (*places[to], *(key for key in source if key in moving))
        return replace(self, products=tuple(places[:-1]), out=places[-1])

    def _part(self, part: int | None, where: str) -> int:
        if part is None or not 0 <= part < len(self.products):
            raise ReviewError(f"{where}: there is no part {part}; it has the parts 0 to {len(self.products) - 1}")
        return part


def proposed_digest(proposal: Proposal) -> str:
    """SHA-256 of the change with its products: an id alone does not say which products were looked at."""
    return hashlib.sha256(json.dumps(proposal.change.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def fold(proposals: Sequence[Proposal], entries: Iterable[Entry]) -> dict[str, State]:
    """Id -> state, in the order of the proposals.

    Raises:
        ReviewError: an entry of an unknown proposal, of one that proposes something else by now, or that does not fit.
    """
    states = {proposal.id: State.of(proposal) for proposal in proposals}
    digests: dict[str, str] = {}
    for entry in entries:
        advance(states, entry, digests)
    return states


def advance(states: dict[str, State], entry: Entry, digests: dict[str, str]) -> None:
    """Take one more entry into `states`. Args: digests: of proposals that were met before; filled. Raises as `fold`."""
    state = states.get(entry.proposal)
    if state is None:
        raise ReviewError(f"entry {entry.n} of the trail: there is no proposal {entry.proposal!r}; trail and proposals are of two runs")
    known = digests[entry.proposal] = digests.get(entry.proposal) or proposed_digest(state.proposal)
    if entry.proposed != known:
        raise ReviewError(
            f"entry {entry.n} of the trail: proposal {entry.proposal} had other products or names when {entry.by!r} decided on it;"
            " put trail.jsonl and trail.jsonl.head away and review again"
        )
    try:
        states[entry.proposal] = state.after(entry)
    except ReviewError as error:
        raise ReviewError(f"entry {entry.n} of the trail: {error}") from error


def accepted(proposals: Sequence[Proposal], entries: Iterable[Entry]) -> list[Change]:
    """The changes as finally decided, in the order of the proposals. Raises as `fold`."""
    return [state.change for state in fold(proposals, entries).values() if state.status == "accepted" and state.change is not None]


def decide(trail: Trail, proposal: Proposal, decision: Decision, *, seen: int | None = None) -> Entry:
    """Append a decision, if it fits the proposal as it stands.

    Args:
        seen: number of the trail's last entry that whoever decides has seen; None: whatever it is by now.

    Raises:
        Outdated: somebody has decided on the proposal since; says what. Notes disturb nobody.
        ReviewError: it does not fit, or the trail cannot be read or written.
    """

    def check(entries: Sequence[Entry]) -> None:
        own = [entry for entry in entries if entry.proposal == proposal.id]
        later = [entry for entry in own if seen is not None and entry.n > seen and entry.action != "note"]
        if later and decision.action != "note":
            happened = "; ".join(f"{entry.by}: {told(entry)} ({entry.at})" for entry in later)
            raise Outdated(f"proposal {proposal.id}: was decided on meanwhile: {happened}; look at it again")
        fold([proposal], own)[proposal.id].after(decision)

    return trail.append(decision, proposed=proposed_digest(proposal), check=check)


def told(entry: Decision) -> str:
    """What was decided in a few words."""
    if entry.action == "rename":
        return f"rename {'it' if entry.part is None else f'part {entry.part}'} to {entry.name!r}"
    if entry.action == "move":
        target = "out" if entry.to is None else f"to part {entry.to}"
        return f"move {len(entry.products)} products {target}"
    return entry.action


@dataclass(frozen=True)
class Decided:
    """A folder of proposals and what was decided on them.

    Args:
        base: hash of `tree`, which all was proposed on.
        changes: those accepted, as `accepted` gives them.
    """

    base: str
    tree: Taxonomy
    proposals: tuple[Proposal, ...]
    entries: tuple[Entry, ...]
    changes: tuple[Change, ...]


def read_decided(folder: Path) -> Decided:
    """proposals.json, taxonomy.json and trail.jsonl of a folder; no trail: nothing is decided.

    Raises:
        ReviewError: a file is missing or damaged, was changed, or is of another run.
        TaxonomyError: the tree cannot be read.
    """
    base, proposals = load_proposals(folder)
    tree = Taxonomy.load(folder / TREE)
    if tree.hash != base:
        raise ReviewError(
            f"{folder}: the proposals are of the tree {base[:12]}, {TREE} is {tree.hash[:12]}; the files are of two runs: propose again"
        )
    entries = Trail(folder / TRAIL).read()
    return Decided(base, tree, tuple(proposals), tuple(entries), tuple(accepted(proposals, entries)))

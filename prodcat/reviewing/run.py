"""What `prodcat review` and `prodcat decide` do: serve the page until Ctrl-C, or list and decide without it."""

import contextlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from prodcat.catalog.store import Catalog
from prodcat.errors import ConfigError, ReviewError
from prodcat.recategorization.changes import say
from prodcat.recategorization.decisions import TRAIL, Action, Decision, State, Trail, decide, fold, read_decided
from prodcat.reviewing.app import review_app
from prodcat.reviewing.guard import LOOPBACK
from prodcat.reviewing.review import catalog_of, counted, later_catalogs

Say = Callable[[str], None]
# What can be decided without seeing products.
BY_HAND: dict[str, Action] = {"accept": "accept", "reject": "reject", "reopen": "reopen", "note": "note"}


def serve_review(folder: Path, *, catalog: Path | None, host: str, port: int, reviewer: str | None, token: str | None, say: Say) -> dict[str, Any]:
    """Serve the page until Ctrl-C; the counts as they then are.

    Args:
        catalog: whose products the proposals speak of; None: the one they were made of.
        token: None: none on this machine's own addresses, a drawn one on others.
    """
    if token is not None and len(token) < 12:
        raise ConfigError("the token of a review needs at least 12 characters; leave it out, and one is drawn where it is needed")
    if token is None and host not in LOOPBACK:
        token = secrets.token_urlsafe(24)
    later = [Catalog.open(each) for each in later_catalogs(folder)]
    app = review_app(folder, Catalog.open(catalog or catalog_of(folder)), reviewer, token, later)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    say(f"review: {address}{f'?token={token}' if token else ''}   (Ctrl-C stops it)")
    # No access log: the address of the first request holds the token.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
    return counts(folder)


def counts(folder: Path) -> dict[str, Any]:
    """{open, accepted, rejected, entries} of a folder."""
    decided = read_decided(folder)
    found = counted(state.status for state in fold(decided.proposals, decided.entries).values())
    return {**{status: found.get(status, 0) for status in ("open", "accepted", "rejected")}, "entries": len(decided.entries)}


def states(folder: Path) -> dict[str, Any]:
    """{proposals}: {id, status, kind, change, products, reason, by, at, notes} of each."""
    decided = read_decided(folder)
    return {"proposals": [_row(state) for state in fold(decided.proposals, decided.entries).values()]}


def state_lines(found: dict[str, Any]) -> list[str]:
    """`states` for a person."""
    lines = []
    for row in found["proposals"]:
        who = f"  ({row['by']}, {row['at']})" if row["by"] else ""
        lines.append(f"{row['id']}  {row['status']:8}  {row['products']:6,} products  {row['change']}{who}")
        lines += [f"{'':14}{note}" for note in row["notes"]]
    return lines or ["no proposals"]


def decide_by_hand(folder: Path, identifier: str, action: Action, *, by: str, names: Sequence[str] = (), note: str | None = None) -> dict[str, Any]:
    """Decide on one proposal; its state afterwards.

    Args:
        names: "PART=NAME", part from 0, or "NAME" where the proposal has no parts: edited before it is decided.

    Raises:
        ReviewError: it does not fit; names that were edited before that stay edited.
    """
    decided = read_decided(folder)
    proposal = next((each for each in decided.proposals if each.id == identifier), None)
    if proposal is None:
        known = ", ".join(each.id for each in decided.proposals[:5])
        raise ReviewError(f"{folder}: there is no proposal {identifier!r}; there are {known or 'none'}; `prodcat review {folder} --table` lists them")
    start = State.of(proposal)
    wanted = [_named(identifier, by, text, parts=bool(start.products)) for text in names]
    wanted.append(Decision(by=by, proposal=identifier, action=action, note=note))
    # All or nothing: a name that does not fit is told before anything is written.
    state = fold([proposal], [entry for entry in decided.entries if entry.proposal == identifier])[identifier]
    for decision in wanted:
        state = state.after(decision)
    trail = Trail(folder / TRAIL)
    for decision in wanted:
        entry = decide(trail, proposal, decision)
    return {
        "proposal": identifier,
        "status": state.status,
        "change": say(state.change or proposal.change),
        "by": entry.by,
        "at": entry.at,
        "entry": entry.n,
    }


def _named(identifier: str, by: str, text: str, *, parts: bool) -> Decision:
    if not parts:
        return Decision(by=by, proposal=identifier, action="rename", name=text)
    part, equals, name = text.partition("=")
    if not equals or not part.isdecimal():
        raise ReviewError(f"--name {text}: expected PART=NAME, the part a number from 0, for example --name 0=Boots")
    return Decision(by=by, proposal=identifier, action="rename", part=int(part), name=name)


def _row(state: State) -> dict[str, Any]:
    change = state.proposal.change
    last = next((entry for entry in reversed(state.entries) if entry.action in ("accept", "reject", "reopen")), None)
    return {
        "id": state.proposal.id,
        "status": state.status,
        "kind": change.kind,
        "change": say(state.change or change),
        "products": sum(map(len, state.products)) if state.products else sum(each.get("products", 0) for each in state.proposal.evidence),
        "reason": state.proposal.reason,
        "by": last.by if last else None,
        "at": last.at if last else None,
        "notes": [f"{entry.by}: {entry.note}" for entry in state.notes],
    }

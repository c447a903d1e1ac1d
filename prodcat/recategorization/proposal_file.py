"""Proposals on disk: proposals.json, which is read again, and proposals.csv, the same for people. Decides nothing."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prodcat.config import validate
from prodcat.errors import ConfigError, ReviewError
from prodcat.recategorization.changes import Add, Split, say
from prodcat.recategorization.proposals import Proposal

PROPOSALS, TABLE = "proposals.json", "proposals.csv"
_FORMAT = 1
_COLUMNS = ("id", "kind", "change", "reason", "products", "platforms", "parts", "terms", "nearest", "tightness")
# A spreadsheet runs what begins so; names and terms come from titles, and titles from shops.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def save_proposals(folder: Path, proposals: Sequence[Proposal], base: str) -> None:
    """Write both files.

    Args:
        base: hash of the tree that all are proposed on.

    Raises:
        ReviewError: one is of another tree, or an id stands twice.
    """
    _check(proposals, base, str(folder))
    document = {"format": _FORMAT, "base": base, "proposals": [proposal.model_dump(mode="json") for proposal in proposals]}
    part = folder / (PROPOSALS + ".part")
    part.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / PROPOSALS)
    # utf-8-sig: else a spreadsheet takes the file for another encoding.
    with (folder / TABLE).open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        writer.writerows([_harmless(cell) for cell in _row(proposal)] for proposal in proposals)


def load_proposals(folder: Path) -> tuple[str, list[Proposal]]:
    """Hash of the tree, and what is proposed on it. Raises ReviewError for a folder without proposals, or whose file cannot be read."""
    file = folder / PROPOSALS
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        form, base, listed = document["format"], str(document["base"]), list(document["proposals"])
    except FileNotFoundError as error:
        raise ReviewError(f"{folder}: has no {PROPOSALS}; make proposals with `prodcat recategorize BUNDLE CATALOG --out {folder}`") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReviewError(f"{file}: no file of proposals ({error!r}); `prodcat recategorize` writes one") from error
    if form != _FORMAT:
        raise ReviewError(f"{file}: proposals of format {form}, this prodcat reads {_FORMAT}; run `prodcat recategorize` again")
    try:
        proposals = [validate(Proposal, each, f"{file}, proposal {number}") for number, each in enumerate(listed, 1)]
    except ConfigError as error:
        raise ReviewError(f"{error}; run `prodcat recategorize` again") from error
    _check(proposals, base, str(file))
    return base, proposals


def _check(proposals: Sequence[Proposal], base: str, where: str) -> None:
    for proposal in proposals:
        if proposal.base != base:
            raise ReviewError(f"{where}: proposal {proposal.id} is of the tree {proposal.base[:12]}, not of {base[:12]}; propose all on one tree")
    for identifier, count in Counter(proposal.id for proposal in proposals).items():
        if count > 1:
            raise ReviewError(f"{where}: {count} proposals have the id {identifier}; keep one")


def _row(proposal: Proposal) -> list[str]:
    change, evidence = proposal.change, proposal.evidence
    platforms: Counter[str] = Counter()
    for part in evidence:
        platforms.update(part.get("platforms", {}))
    terms = ["; ".join(part.get("terms", [])) for part in evidence]
    nearest = ["; ".join(f"{each['category']} {each['likeness']:.2f}" for each in part.get("nearest", [])) for part in evidence]
    return [
        proposal.id,
        change.kind,
        say(change),
        proposal.reason,
        str(sum(part.get("products", 0) for part in evidence)),
        "; ".join(f"{name} {count}" for name, count in sorted(platforms.items())),
        "; ".join(f"{part.name} {len(part.products)}" for part in change.parts) if isinstance(change, Add | Split) else "",
        " | ".join(terms),
        " | ".join(nearest),
        " | ".join(str(part.get("tightness", "")) for part in evidence),
    ]


def _harmless(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text

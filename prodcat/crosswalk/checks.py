"""Whether a mapping file can be believed: how much it covers, and where it parts from itself, the tree, labels or votes. Reads no file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prodcat.crosswalk.mapping_file import Key, Line
from prodcat.crosswalk.votes import Ballot, VoteConfig, winner
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is to be looked at.

    Args:
        line: of the file, as an editor counts.
        kind: error: the file cannot be applied, or would contradict labels; warning: a person should look.
        text: what was found, and what to do.
    """

    line: int
    kind: Literal["error", "warning"]
    text: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What accepted lines reach of one platform.

    Args:
        products: with a raw category; those without can never be mapped.
        raw_categories: distinct ones.
        mapped: of them that have an accepted line.
        mapped_products: products under these.
        by_level: level -> products mapped down to this level or deeper.
        proposed: raw categories with a path and no decision yet.
        open: raw categories with neither, lines that are missing included.
        rejected: raw categories that are decided to stay without.
        without_raw_category: products without one.
    """

    products: int
    raw_categories: int
    mapped: int
    mapped_products: int
    by_level: dict[int, int]
    proposed: int
    open: int
    rejected: int
    without_raw_category: int


def coverage(lines: Iterable[Line], ballots: Mapping[Key, Ballot], without: Mapping[str, int]) -> dict[str, Coverage]:
    """By platform of the catalog. without: platform -> products that have no raw category."""
    of_key: dict[Key, Line] = {}
    for line in lines:
        # Of two lines of a raw category the one that is applied.
        if line.key not in of_key or line.decision == "accept":
            of_key[line.key] = line
    counts: dict[str, Counter[str]] = {platform: Counter() for platform in without}
    levels: dict[str, Counter[int]] = {}
    for key, ballot in ballots.items():
        count = counts.setdefault(key[0], Counter())
        found = of_key.get(key)
        count["raw_categories"] += 1
        count["products"] += ballot.products
        state = "open" if found is None or (found.path is None and found.decision == "") else found.decision or "proposed"
        count[state] += 1
        if state == "accept" and found is not None and found.path is not None:
            count["mapped_products"] += ballot.products
            for level in range(1, len(found.path) + 1):
                levels.setdefault(key[0], Counter())[level] += ballot.products
    return {
        platform: Coverage(
            products=count["products"],
            raw_categories=count["raw_categories"],
            mapped=count["accept"],
            mapped_products=count["mapped_products"],
            by_level=dict(sorted(levels.get(platform, Counter()).items())),
            proposed=count["proposed"],
            open=count["open"],
            rejected=count["reject"],
            without_raw_category=without.get(platform, 0),
        )
        for platform, count in sorted(counts.items())
    }


def findings(lines: Sequence[Line], ballots: Mapping[Key, Ballot], tree: Taxonomy, config: VoteConfig) -> list[Finding]:
    """What is wrong or doubtful, in the order of the lines."""
    first: dict[Key, int] = {}
    platforms = {platform for platform, _ in ballots}
    found: list[Finding] = []
    for line in lines:
        if line.key in first:
            found.append(Finding(line.number, "error", f"{_named(line)} stands in line {first[line.key]} too; keep one of the two"))
        first.setdefault(line.key, line.number)
        if line.path is not None and line.path not in tree:
            # What is rejected is applied nowhere: after a change of the tree it may name what is gone.
            if line.decision != "reject":
                found.append(
                    Finding(line.number, "error", f"{format_path(line.path)!r} is not in the tree; write a path of the tree, or reject the line")
                )
            continue
        if line.path is not None and line.decision == "" and line.how in ("", "hand"):
            found.append(Finding(line.number, "warning", f"{_named(line)} has a path by hand and no decision, so it is not applied; write accept"))
        ballot = ballots.get(line.key)
        if ballot is None:
            if line.decision == "accept" and line.platform in platforms:
                found.append(
                    Finding(line.number, "warning", f"{_named(line)}: no product of the catalog has it any more; remove the line, or leave it")
                )
            continue
        if line.decision != "reject" and line.path is not None:
            found += _against_votes(line, line.path, ballot, config)
    return sorted(found, key=lambda finding: finding.line)


def _against_votes(line: Line, path: CategoryPath, ballot: Ballot, config: VoteConfig) -> Iterable[Finding]:
    kind: Literal["error", "warning"] = "error" if line.decision == "accept" else "warning"
    labelled = winner(ballot.labels, config)
    if labelled is not None and _part(path, labelled):
        share = _at(ballot.labels, labelled)
        yield Finding(
            line.number,
            kind,
            f"{_named(line)} is mapped to {format_path(path)!r}, but {share:,} of its {ballot.labels.total():,} labelled products are "
            f"{format_path(labelled)!r}; change the path, or the labels",
        )
        return
    voted = ballot.winner(config)
    if voted is not None and _part(path, voted):
        yield Finding(
            line.number,
            "warning",
            f"{_named(line)} is mapped to {format_path(path)!r}, but {_at(ballot.votes, voted):,} of {ballot.votes.total():,} votes of its products "
            f"say {format_path(voted)!r}; look at some of them",
        )


def _part(path: CategoryPath, other: CategoryPath) -> bool:
    """Whether neither lies above the other."""
    depth = min(len(path), len(other))
    return path[:depth] != other[:depth]


def _at(votes: Counter[CategoryPath], path: CategoryPath) -> int:
    return sum(count for vote, count in votes.items() if vote[: len(path)] == path)


def _named(line: Line) -> str:
    return f"{line.raw_category!r} of {line.platform}"

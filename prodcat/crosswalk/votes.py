"""Products vote: where those under one raw category are said to belong, by their labels or by a classifier's answers. Tables in, counts out.

A product with a label of its own votes for it, another one for its answer, as deep as the answer is sure. The path goes down from the first level to
the child that has enough of all votes, and stops at the parent where none has. Votes that stop higher count against every child.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from pydantic import Field

from prodcat.config import Config
from prodcat.taxonomy import CategoryPath

# What `ingest --crosswalk` writes as label_source (catalog/records.py): such a label is this file's own doing and no evidence for it.
BY_CROSSWALK = "crosswalk"


class VoteConfig(Config):
    """When products are enough, and agree enough. Chosen as RuleConfig."""

    agreement: float = Field(0.8, gt=0.5, le=1, description="share of the votes that a category needs; else the path stops at its parent")
    products: int = Field(5, ge=1, description="fewer products than this say nothing")
    confidence: float = Field(0.5, ge=0, le=1, description="an answer votes down to the deepest level of which it is at least so sure")


@dataclass
class Ballot:
    """The votes of one raw category.

    Args:
        products: all under it, with or without a vote.
        votes: path -> products; every product that was answered or labelled, the empty path where the answer was not sure of any level.
        labels: the part of them that are labels.
    """

    products: int = 0
    votes: Counter[CategoryPath] = field(default_factory=Counter)
    labels: Counter[CategoryPath] = field(default_factory=Counter)

    def share(self, path: Sequence[str]) -> float | None:
        """Share of the votes that lie at this path or below; None without votes."""
        return _share(self.votes, path)

    def winner(self, config: VoteConfig) -> CategoryPath | None:
        """The deepest path that the votes agree on; None if they are too few or part at the first level."""
        return winner(self.votes, config)


def winner(votes: Counter[CategoryPath], config: VoteConfig) -> CategoryPath | None:
    """The deepest path that has `agreement` of all votes at every level; None if there are too few, or they part at the first level."""
    total = votes.total()
    if total < config.products:
        return None
    path: CategoryPath = ()
    while True:
        below: Counter[str] = Counter()
        for vote, count in votes.items():
            if len(vote) > len(path) and vote[: len(path)] == path:
                below[vote[len(path)]] += count
        # By name where two are equal: agreement is above a half, so then neither has it.
        name, count = min(below.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
        if count < config.agreement * total:
            return path or None
        path = (*path, name)


def _share(votes: Counter[CategoryPath], path: Sequence[str]) -> float | None:
    total = votes.total()
    return sum(count for vote, count in votes.items() if vote[: len(path)] == tuple(path)) / total if total else None


def answers_of(predictions: pa.Table, confidence: float) -> dict[str, CategoryPath]:
    """PREDICTIONS -> key -> path, cut at the deepest level of which the answer is sure enough."""
    answers = {}
    columns = (predictions[name].to_pylist() for name in ("key", "path", "confidences"))
    for key, path, confidences in zip(*columns, strict=True):
        sure = next((level for level, value in enumerate(confidences) if value < confidence), len(path))
        answers[key] = tuple(path[:sure])
    return answers


def ballots(products: pa.Table, answers: Mapping[str, CategoryPath]) -> dict[tuple[str, str], Ballot]:
    """(platform, raw category) -> its votes.

    Args:
        products: columns key, platform, raw_category, path and label_source of PRODUCTS; those without a raw category are passed over.
        answers: key -> path, from `answers_of`; products may be missing.
    """
    found: dict[tuple[str, str], Ballot] = {}
    columns = (products[name].to_pylist() for name in ("key", "platform", "raw_category", "path", "label_source"))
    for key, platform, raw, path, source in zip(*columns, strict=True):
        if raw is None:
            continue
        ballot = found.setdefault((platform, raw), Ballot())
        ballot.products += 1
        if path and source != BY_CROSSWALK:
            ballot.votes[tuple(path)] += 1
            ballot.labels[tuple(path)] += 1
        elif key in answers:
            ballot.votes[answers[key]] += 1
    return found


def labelled_counts(products: Iterable[tuple[Sequence[str] | None, str | None]]) -> Counter[CategoryPath]:
    """(label, label_source) of products -> path -> products; labels that a crosswalk gave are left out."""
    return Counter(tuple(path) for path, source in products if path and source != BY_CROSSWALK)

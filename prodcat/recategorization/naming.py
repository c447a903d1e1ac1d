"""What a cluster may be called: the words that its titles have and its siblings' have not, and the categories that are called alike elsewhere.

Class-based TF-IDF (Grootendorst, BERTopic, arXiv 2203.05794, eq. 2): a term weighs tf in the cluster, times log(1 + A / tf in all clusters), A the
mean number of terms of a cluster. Ours: a title counts a term once, and a name is taken from terms that enough of the cluster's titles have.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import Field
from rapidfuzz import fuzz, process

from prodcat.config import Config
from prodcat.masking import forms, normalise
from prodcat.taxonomy import CategoryPath

# Titles that a category has, and such categories, before its words are counted.
_TITLES, _CATEGORIES = 20, 5


class NamingConfig(Config):
    """How clusters are named."""

    terms: int = Field(8, ge=1, description="distinctive terms that are told of a cluster, at most")
    least_share: float = Field(0.2, ge=0, le=1, description="share of a cluster's titles that have the terms of its name, at least")
    general: float = Field(0.55, gt=0, le=1, description="a word of so large a share of all categories is no name: colours, sexes, large brands")
    general_share: float = Field(0.02, gt=0, le=1, description="share of a category's titles that have a word, at least, for it to be a word of it")
    pair_share: float = Field(0.6, ge=0, le=1, description="two words name it together if so large a share of titles with one have both in a row")
    nearest: int = Field(3, ge=0, description="known categories of a like name that are told, at most")
    likeness: float = Field(75, ge=0, le=100, description="of such names, at least: rapidfuzz's token set ratio, per cent")


@dataclass(frozen=True)
class ClusterName:
    """A proposal, for a person to accept or change.

    Args:
        name: None where no title says enough.
        terms: what sets the cluster apart, and its weight, heaviest first.
        nearest: known categories of a like name, and how like, in per cent.
    """

    name: str | None
    terms: tuple[tuple[str, float], ...]
    nearest: tuple[tuple[CategoryPath, float], ...]


def name_clusters(
    titles: Sequence[Sequence[str]], above: CategoryPath, known: Sequence[CategoryPath], config: NamingConfig, ignored: Sequence[str] = ()
) -> list[ClusterName]:
    """A name for each of K clusters of one branch. Two may have the same: what parts them, words do not say.

    Args:
        titles: K lists.
        above: the branch; the words of its names say nothing about a part of it.
        known: categories to compare names with.
        ignored: words that name no category: brands, and `general_words`.
    """
    silent = {form for name in (*above, *ignored) for word in words_of(name) for form in forms(word)}
    counts = [_counts(cluster, silent) for cluster in titles]
    everywhere = sum(counts, Counter())
    mean = sum(everywhere.values()) / max(1, len(titles))
    found: list[ClusterName] = []
    for cluster, count in zip(titles, counts, strict=True):
        size = max(1, len(cluster))
        weight = {term: own / size * float(np.log1p(mean / everywhere[term])) for term, own in count.items()}
        # By weight, then by the alphabet: the same titles in another order give the same name.
        ordered = sorted(weight, key=lambda term: (-weight[term], term))
        frequent = [term for term in ordered if count[term] >= config.least_share * size and count[term] > 1]
        name = _written(frequent[0], count, config) if frequent else None
        terms = tuple((term, round(weight[term], 4)) for term in ordered[: config.terms])
        found.append(ClusterName(name, terms, _nearest(name, known, config)))
    return found


def general_words(titles: Mapping[CategoryPath, Sequence[str]], config: NamingConfig) -> list[str]:
    """Words that titles of most categories have: they tell products apart, and no categories. None of them where there are too few categories to say.

    Args:
        titles: of each category.
    """
    often: Counter[str] = Counter()
    asked = [each for each in titles.values() if len(each) >= _TITLES]
    for each in asked:
        count = Counter(word for title in each for word in set(words_of(title)))
        often.update(word for word, own in count.items() if own >= config.general_share * len(each))
    return sorted(word for word, own in often.items() if own >= config.general * len(asked)) if len(asked) >= _CATEGORIES else []


def words_of(text: str) -> list[str]:
    """Normalised words, without numbers and single letters."""
    split = "".join(character if character.isalpha() or character.isspace() else " " for character in normalise(text)).split()
    return [word for word in split if len(word) > 1]


def _counts(titles: Sequence[str], silent: set[str]) -> Counter[str]:
    """Term -> titles that have it. Terms are words, and two in a row."""
    found: Counter[str] = Counter()
    for title in titles:
        words = [word for word in words_of(title) if word not in silent]
        found.update(set(words) | {f"{first} {second}" for first, second in pairwise(words)})
    return found


def _written(term: str, count: Counter[str], config: NamingConfig) -> str:
    """A term as a name: with the word that nearly always stands beside it."""
    if " " not in term:
        pairs = [pair for pair in count if " " in pair and term in pair.split() and count[pair] >= config.pair_share * count[term]]
        if pairs:
            term = max(pairs, key=lambda pair: (count[pair], pair))
    return term.title()


def _nearest(name: str | None, known: Sequence[CategoryPath], config: NamingConfig) -> tuple[tuple[CategoryPath, float], ...]:
    if name is None or not config.nearest:
        return ()
    names = [normalise(path[-1]) for path in known]
    hits = process.extract(normalise(name), names, scorer=fuzz.token_set_ratio, score_cutoff=config.likeness, limit=None)
    best = sorted(((known[place], float(score)) for _, score, place in hits), key=lambda hit: (-hit[1], hit[0]))
    return tuple((path, round(score, 1)) for path, score in best[: config.nearest])

"""Rules by name: a shop's own category -> a category of the tree, or nothing. What is not certain is left open, never guessed.

In this order; the first that finds something decides:

    whole path   exact   all names of the shop's path are those of a path of the tree
    own name     exact   its last name is a category's: "Rings"; or all things it lists are: "Bras & Briefs"
    variant      fuzzy   its last name is the one above it and more, a brand or colour: "Shorts > Alisha Shorts"; the one above decides
    head         fuzzy   its last name ends in a category's, for in English the last word says what a thing is: "Denim Shorts"
    spelling     fuzzy   its last name, or the end of it, is nearly a category's: "Jewelry" and "Jewellery"
    upper names  fuzzy   the same with the names above it, for what lies below "Shoes" in a shop is a shoe

A name that several categories have is decided by the names above it, else by where nearly all labelled products of these categories are, else it is
what these categories have in common: one of them it must be. If they have nothing in common it stays open, with the categories as candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import Field
from rapidfuzz import fuzz, process

from prodcat.config import Config
from prodcat.crosswalk.names import parts, readings, spelling, words
from prodcat.taxonomy import CategoryPath, Taxonomy

# What is lost of a score for each word of a name that is passed over, at most, and for each name of the path.
_PASSED_WORDS, _PASSED_NAME, _SYNONYM = 0.1, 0.05, 0.02
_SHORTEST = 5  # letters: of shorter words too many are nearly each other (skirt, shirt; bag, rag)
_CANDIDATES = 5


class RuleConfig(Config):
    """Chosen by the results of five shops of benchmarks/crosswalk.py, not of the sixth."""

    similarity: float = Field(0.87, gt=0, le=1, description="from which two spellings are taken for one name, 1 is equal")
    margin: float = Field(0.05, ge=0, le=1, description="by which the best must be more similar than any category that is not above or below it")
    head: Literal["last", "first"] = Field("last", description="where a name says what a thing is: last in English, first in French or Vietnamese")
    upper_names: int = Field(2, ge=0, description="names above the last one that may stand in for it; 0: only the last one counts")
    same: tuple[tuple[str, ...], ...] = Field(
        (("clothing", "clothes", "apparel", "garments"), ("underwear", "innerwear"), ("jumper", "sweater", "pullover"), ("tee", "t-shirt")),
        description="names that mean the same; further ones, and other languages', are yours to add",
    )
    slips: float = Field(
        0.02, ge=0, lt=0.5, description="a category with a smaller share of the labelled products of its name is a slip, and not meant"
    )
    dominance: float = Field(0.95, gt=0.5, le=1, description="share of labelled products from which one of several categories of a name is meant")


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule says.

    Args:
        node: category index; None if it is left open.
        how: exact or fuzzy.
        score: similarity of the names, at most 1; less where words or names are passed over.
        candidates: category indices that it might be where it is left open, or is only what they have in common.
        union: the name lists several things, and the node is what they have in common: deeper than that its products are not all.
        partial: it lists things of which some are not known, and the node is what is above the others.
    """

    node: int | None
    how: Literal["exact", "fuzzy"]
    score: float
    candidates: tuple[int, ...] = ()
    union: bool = False
    partial: bool = False


class NameRules:
    """The names of a tree, ready to be looked up. N categories.

    Args:
        tree: the tree.
        config: thresholds.
        labelled: path -> labelled products that end there; empty where nothing is known.
    """

    def __init__(self, tree: Taxonomy, config: RuleConfig, labelled: Mapping[CategoryPath, int] | None = None) -> None:
        self._tree, self._config = tree, config
        self._spellings = [spelling(category.name) for category in tree.categories]
        self._of_name: dict[str, list[int]] = {}
        self._of_part: dict[str, list[int]] = {}
        self._of_path: dict[tuple[str, ...], list[int]] = {}
        for node, category in enumerate(tree.categories):
            if not self._spellings[node]:
                continue
            self._of_name.setdefault(self._spellings[node], []).append(node)
            listed = parts(category.name)
            for part in listed if len(listed) > 1 else ():
                self._of_part.setdefault(spelling(part), []).append(node)
            self._of_path.setdefault(tuple(spelling(name) for name in category.path), []).append(node)
        self._same: dict[str, list[str]] = {}
        for group in config.same:
            spelled = list(dict.fromkeys(spelling(name) for name in group))
            for name in spelled:
                self._same.setdefault(name, []).extend(other for other in spelled if other != name)
        self._names = [name for name in self._of_name if len(name) >= _SHORTEST]
        # One word more, for what is one word in the tree may be two in the shop.
        self._most_words = 1 + max((len(words(category.name)) for category in tree.categories), default=0)
        self._alike: dict[str, list[tuple[str, float]]] = {}
        self._labelled = np.zeros(len(tree), dtype=np.int64)
        for path, count in (labelled or {}).items():
            inner = tree.path_indices[tree.index(path)]
            self._labelled[inner[inner >= 0]] += count

    def __call__(self, raw: str) -> Match:
        """The category of a raw category. Never raises: what cannot be read matches nothing."""
        open_match = Match(None, "exact", 0.0)
        for names in readings(raw):
            found = self._path(names) if names else open_match
            if found.node is not None or found.candidates:
                return found
        return open_match

    def _path(self, names: Sequence[str]) -> Match:
        same = self._of_path.get(tuple(spelling(name) for name in names), [])
        if len(same) == 1 and len(names) > 1:
            return Match(same[0], "exact", 1.0)
        if len(names) > 1 and self._is_variant(names[-1], names[-2]):
            found = self._path(names[:-1])
            return replace(found, how="fuzzy", score=max(0.0, found.score - _PASSED_NAME))
        own = self._name(names[-1], names[:-1])
        if own is None:
            return self._by_upper_names(names)
        return own if own.how == "exact" or own.node is None else self._with_upper_names(own, names)

    def _is_variant(self, name: str, upper: str) -> bool:
        """ "Casual & Party Wear Shirts > Acme Casual & Party Wear Shirts": a brand's or a colour's part of what stands above, and no other thing."""
        own, above = words(name), words(upper)
        more = range(len(above) + 1, len(own) + 1)
        return bool(more) and self._tail(own, len(above)) == above and not any("".join(self._tail(own, length)) in self._of_name for length in more)

    def _with_upper_names(self, own: Match, names: Sequence[str]) -> Match:
        """What a name that is only like a category's says, held against names above it that are a category's.

        "Swimwear > Bikini top" is no top: where they part, what both have in common. "Shirts > Casual & Party Wear" is a shirt: the deeper one.
        """
        for place, name in enumerate(names[:-1]):
            upper = self._name(name, names[:place])
            if upper is None or upper.how != "exact" or upper.node is None or own.node is None:
                continue
            mine, meant = own.node, upper.candidates or (upper.node,)
            if upper.node != mine and upper.node in own.candidates and self._above(mine, upper.node):
                own = Match(upper.node, "fuzzy", own.score)
            elif not any(self._above(node, mine) or self._above(mine, node) for node in meant):
                node = upper.node if own.partial else self._common([mine, upper.node])
                own = Match(node, "fuzzy", own.score, (mine, upper.node))
        return own

    def _by_upper_names(self, names: Sequence[str]) -> Match:
        """What the names above have in common where they part, else the deepest of them."""
        nodes: list[int] = []
        score = 0.0
        for passed in range(1, min(self._config.upper_names, len(names) - 1) + 1):
            place = len(names) - 1 - passed
            found = self._name(names[place], names[:place])
            # What lies above the known part of a list need not lie above the unknown one.
            if found is not None and found.node is not None and not found.partial:
                score = score or max(0.0, found.score - passed * _PASSED_NAME)
                nodes.append(found.node)
        if not nodes:
            return Match(None, "fuzzy", 0.0)
        deepest = max(nodes, key=lambda node: int(self._tree.levels[node]))
        if all(self._above(node, deepest) for node in nodes):
            return Match(deepest, "fuzzy", score)
        return Match(self._common(nodes), "fuzzy", score, tuple(dict.fromkeys(nodes))[:_CANDIDATES])

    def _name(self, name: str, upper: Sequence[str]) -> Match | None:
        """One name of a path; None if nothing is like it."""
        own = spelling(name)
        if own in self._of_name:
            return self._one_of(self._of_name[own], upper, "exact", 1.0)
        listed = parts(name)
        if len(listed) > 1:
            # Not the head of a list: "Dupattas & Stoles" is not only stoles.
            return self._all_of([self._single(part, upper) for part in listed])
        return self._single(name, upper)

    def _called(self, name: str) -> list[int]:
        """Inner categories that a name above may mean: those called as its end, the longer end first, or what means the same."""
        split = words(name)
        for length in range(len(split), 0, -1):
            end = "".join(self._tail(split, length))
            nodes = [node for word in (end, *self._same.get(end, ())) for node in self._of_name.get(word, ())]
            if nodes:
                return [node for node in nodes if not self._tree.is_leaf[node]]
        return []

    def _tail(self, split: Sequence[str], length: int) -> Sequence[str]:
        """The words of a name in which the thing is named."""
        return split[-length:] if self._config.head == "last" else split[:length]

    def _single(self, name: str, upper: Sequence[str]) -> Match | None:
        split = words(name)
        whole = "".join(split)
        if whole in self._of_part and whole not in self._of_name:
            return self._one_of(self._of_part[whole], upper, "exact", 1.0)
        for length in range(len(split), 0, -1):
            end = "".join(self._tail(split, length))
            score = 1.0 - _PASSED_WORDS * (1 - length / len(split))
            if end in self._of_name:
                return self._one_of(self._of_name[end], upper, "exact" if length == len(split) else "fuzzy", score)
            synonyms = [node for word in self._same.get(end, ()) for node in self._of_name.get(word, ())]
            if synonyms:
                return self._one_of(synonyms, upper, "fuzzy", score - _SYNONYM)
        return self._nearly(split, upper)

    def _nearly(self, split: Sequence[str], upper: Sequence[str]) -> Match | None:
        for length in range(min(len(split), self._most_words), 0, -1):
            found = self._like("".join(self._tail(split, length)))
            if found:
                nodes = [node for name, _ in found for node in self._of_name[name]]
                score = found[0][1] - _PASSED_WORDS * (1 - length / len(split))
                return self._one_of(nodes, upper, "fuzzy", score)
        return None

    def _like(self, name: str) -> list[tuple[str, float]]:
        """The tree's spelling that is most like this one, and those within the margin; empty if none is like enough."""
        if name not in self._alike:
            found: list[tuple[str, float]] = []
            if len(name) >= _SHORTEST:
                least = 100 * (self._config.similarity - self._config.margin)
                scored = process.extract(name, self._names, scorer=fuzz.ratio, score_cutoff=least, limit=_CANDIDATES)
                found = [(other, similarity / 100) for other, similarity, _ in scored]
            best = found[0][1] if found else 0.0
            # Kept, for the names of a shop's upper levels come again with every category below them.
            self._alike[name] = [entry for entry in found if best - entry[1] < self._config.margin] if best >= self._config.similarity else []
        return self._alike[name]

    def _all_of(self, found: Sequence[Match | None]) -> Match | None:
        """What the things that a name lists have in common; where some are not known, what is above that. None if most are not known."""
        matches = [match for match in found if match is not None and match.node is not None]
        if 2 * len(matches) < len(found):
            return None
        nodes = list(dict.fromkeys(match.node for match in matches if match.node is not None))
        exact = len(matches) == len(found) and all(match.how == "exact" for match in matches)
        score = min(match.score for match in matches)
        common = self._common(nodes)
        if len(matches) == len(found):
            several = len(nodes) > 1
            return Match(common, "exact" if exact else "fuzzy", score, tuple(nodes[:_CANDIDATES]) if several else (), union=several)
        above = int(self._tree.parents[common]) if common is not None else -1
        return Match(above, "fuzzy", score - _PASSED_NAME, tuple(nodes[:_CANDIDATES]), partial=True) if above >= 0 else None

    def _one_of(self, nodes: Sequence[int], upper: Sequence[str], how: Literal["exact", "fuzzy"], score: float) -> Match:
        """Of categories of one name the one that is meant, or what they have in common."""
        left = self._without_chains(nodes)
        if (counts := self._labelled[left]).sum():
            left = [node for node, count in zip(left, counts, strict=True) if count >= self._config.slips * counts.sum()]
        if len(left) > 1 and upper:
            above = [set(self._called(name)) for name in upper]
            agreeing = [sum(not places.isdisjoint(self._tree.path_indices[node].tolist()) for places in above) for node in left]
            left = [node for node, count in zip(left, agreeing, strict=True) if count == max(agreeing)]
        if len(left) > 1 and (counts := self._labelled[left]).sum():
            likeliest = int(counts.argmax())
            if counts[likeliest] >= self._config.dominance * counts.sum():
                left = [left[likeliest]]
        if len(left) == 1:
            return Match(left[0], how, score)
        return Match(self._common(left), how, score, tuple(left[:_CANDIDATES]))

    def _without_chains(self, nodes: Sequence[int]) -> list[int]:
        """Of categories that lie below each other one: the leaf ("Dress > Dresses"), else the uppermost ("Accessories > Accessories")."""
        tops = [node for node in nodes if not any(other != node and self._above(other, node) for other in nodes)]
        kept = []
        for top in tops:
            below = [node for node in nodes if node != top and self._above(top, node)]
            kept.append(below[0] if len(below) == 1 and self._tree.is_leaf[below[0]] else top)
        return kept

    def _above(self, ancestor: int, node: int) -> bool:
        """Whether `ancestor` is `node` or lies above it."""
        return bool((self._tree.path_indices[node] == ancestor).any())

    def _common(self, nodes: Sequence[int]) -> int | None:
        """The deepest category that is above all of these, or one of them; None if there is none."""
        paths = self._tree.path_indices[list(nodes)]
        same = (paths == paths[0]).all(axis=0) & (paths[0] >= 0)
        depth = len(same) if same.all() else int(np.argmin(same))
        return int(paths[0, depth - 1]) if depth else None

"""What is there of products, and what is there twice. Every function gives P dicts of figures, in the order of the names, and notes examples."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow.compute as pc

from prodcat.evaluation.feeds.columns import FeedColumns

_FIELDS = ("title", "description", "brand", "language", "raw_category")
# Characters; below, a title is shown as too short to say anything.
_SHORT = 5


def presence(feeds: FeedColumns) -> list[dict[str, Any]]:
    table = feeds.table
    has_image = table["has_image"].to_numpy()
    problems = table["image_problem"].to_pylist()
    there = {name: feeds.shares(pc.is_valid(table[name]).to_numpy()) for name in _FIELDS}
    languages = table["language"].to_pylist()
    detected = pc.fill_null(pc.equal(table["language_source"], "detected"), False).to_numpy(zero_copy_only=False)
    misnamed = table["language_problem"].to_pylist()
    image, labelled, found = feeds.shares(has_image), feeds.shares(feeds.label >= 0), feeds.shares(detected)
    results = []
    for number in range(len(feeds.names)):
        rows = feeds.rows(number)
        refused = Counter(problems[row] for row in rows if problems[row] is not None)
        for reason in refused:
            for row in [row for row in rows if problems[row] == reason][: feeds.config.examples]:
                feeds.example("image_refused", row, refused[reason], reason)
        results.append(
            {
                "with_image": image[number],
                "image_refused": dict(refused.most_common()),
                **{f"with_{name}": shares[number] for name, shares in there.items()},
                "with_label": labelled[number],
                "languages": dict(Counter(languages[row] or "unknown" for row in rows).most_common()),
                "language_detected": found[number],
                "language_problems": dict(Counter(misnamed[row] for row in rows if misnamed[row] is not None).most_common(20)),
            }
        )
    return results


def titles(feeds: FeedColumns) -> list[dict[str, Any]]:
    """Lengths, and titles that many products of the platform share."""
    characters = np.array([len(title) if title else 0 for title in feeds.titles], dtype=np.int64)
    words = np.array([len(title.split()) if title else 0 for title in feeds.titles], dtype=np.int64)
    key = feeds.codes("title_key")
    results = []
    for number in range(len(feeds.names)):
        rows = feeds.rows(number)
        titled = rows[characters[rows] > 0]
        figures: dict[str, Any] = {"title_characters": _spread(characters[titled]), "title_words": _spread(words[titled])}
        figures["one_word_titles"] = float((words[titled] == 1).mean()) if len(titled) else None
        keyed = rows[key[rows] >= 0]
        distinct, first, member, count = np.unique(key[keyed], return_index=True, return_inverse=True, return_counts=True)
        shared = count >= feeds.config.template_products
        figures["distinct_titles"] = len(distinct) / len(keyed) if len(keyed) else None
        figures["template_titles"] = int(shared.sum())
        figures["template_share"] = float(shared[member].mean()) if len(keyed) else 0.0
        for place in np.argsort(-count, kind="stable")[: feeds.config.examples]:
            if shared[place]:
                feeds.example("shared_title", int(keyed[first[place]]), int(count[place]), "products of the platform have this title")
        for row in titled[np.argsort(characters[titled], kind="stable")][: feeds.config.examples]:
            if characters[row] < _SHORT:
                feeds.example("short_title", int(row), int((characters[titled] < _SHORT).sum()), f"{characters[row]} characters")
        results.append(figures)
    return results


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    low, middle, high = np.percentile(values, [5, 50, 95])
    return {"p5": float(low), "median": float(middle), "p95": float(high)}


def copies(feeds: FeedColumns) -> list[dict[str, Any]]:
    """Products whose title, description, brand and image are those of an earlier one, of the same platform or of another."""
    digest = feeds.codes("digest")
    pairs, first, member, count = np.unique(digest * len(feeds.names) + feeds.platform, return_index=True, return_inverse=True, return_counts=True)
    copy = np.ones(len(digest), dtype=bool)
    copy[first] = False
    elsewhere = np.bincount(pairs // len(feeds.names))[digest] > 1
    for number in range(len(feeds.names)):
        own = np.flatnonzero((feeds.platform[first] == number) & (count > 1))
        for place in own[np.argsort(-count[own], kind="stable")][: feeds.config.examples]:
            other = feeds.keys[int(np.flatnonzero((member == place) & copy)[0])]
            feeds.example("exact_copy", int(first[place]), int(count[place]), f"the same again: {other}")
    return [{"copies": own, "copies_elsewhere": other} for own, other in zip(feeds.shares(copy), feeds.shares(elsewhere), strict=True)]


def near_duplicates(feeds: FeedColumns) -> list[dict[str, Any]]:
    """Near-duplicate groups, as ingestion found them: equal titles or the same photograph."""
    group, platforms = feeds.codes("group"), len(feeds.names)
    pairs, first, member, count = np.unique(group * platforms + feeds.platform, return_index=True, return_inverse=True, return_counts=True)
    across = np.bincount(pairs // platforms)[group] > 1
    in_group = count[member] > 1
    shared_with: dict[int, Counter[int]] = defaultdict(Counter)
    members: dict[int, list[int]] = defaultdict(list)
    for place, pair in enumerate(pairs.tolist()):
        members[pair // platforms].append(place)
    for places in members.values():
        for place in places if len(places) > 1 else ():
            for other in places:
                if other != place:
                    shared_with[int(pairs[place] % platforms)][int(pairs[other] % platforms)] += int(count[place])
    inside, outside = feeds.shares(in_group), feeds.shares(across)
    results = []
    for number in range(platforms):
        own = np.flatnonzero((feeds.platform[first] == number) & across[first])
        for place in own[np.argsort(-count[own], kind="stable")][: feeds.config.examples]:
            others = sorted({feeds.names[int(pairs[other] % platforms)] for other in members[int(pairs[place] // platforms)]} - {feeds.names[number]})
            feeds.example("near_duplicate_across", int(first[place]), int(count[place]), f"also at {', '.join(others[:5])}")
        results.append(
            {
                "near_duplicates": inside[number],
                "near_duplicate_groups": int(((feeds.platform[first] == number) & (count > 1)).sum()),
                "near_duplicates_elsewhere": outside[number],
                "near_duplicates_with": {feeds.names[other]: products for other, products in shared_with[number].most_common(5)},
            }
        )
    return results

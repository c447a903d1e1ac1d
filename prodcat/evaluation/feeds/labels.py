"""Labels and raw categories: how deep, how contradictory, how new. Every function gives P dicts of figures, in the order of the names, and notes
examples.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prodcat.evaluation.feeds.columns import FeedColumns
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

# Between the names of a shop's own category: "Women > Shoes", "women/shoes", "Women|Shoes".
_PARTS = re.compile(r"[>/|]")
_WORD = re.compile(r"\w+")


def labels(feeds: FeedColumns) -> list[dict[str, Any]]:
    """Depth and origin of labels, and whether titles hold the words of the category: such labels say little of what a model is worth elsewhere."""
    sources = feeds.table["label_source"].to_pylist()
    depth = np.array([len(path) for path in feeds.paths], dtype=np.int64)
    raw, raw_texts = feeds.codes("raw_category"), feeds.texts("raw_category")
    said = [_words(title) if title else frozenset() for title in feeds.titles]
    wanted = [_words(path[-1]) for path in feeds.paths]
    raw_wanted = [_words(_PARTS.split(text)[-1]) for text in raw_texts]
    results = []
    for number in range(len(feeds.names)):
        rows = feeds.rows(number)
        labelled = rows[feeds.label[rows] >= 0]
        depths = Counter(depth[feeds.label[labelled]].tolist())
        results.append(
            {
                "categories": len(set(feeds.label[labelled].tolist())),
                "label_depths": {str(level): depths[level] for level in sorted(depths)},
                "label_depth": float(np.mean(depth[feeds.label[labelled]])) if len(labelled) else None,
                "label_sources": dict(Counter(sources[row] or "unknown" for row in labelled).most_common()),
                "category_in_title": _share_in_title(rows, feeds.label, wanted, said),
                "raw_category_in_title": _share_in_title(rows, raw, raw_wanted, said),
            }
        )
    return results


def _share_in_title(rows: np.ndarray, code: np.ndarray, wanted: Sequence[frozenset[str]], said: Sequence[frozenset[str]]) -> float | None:
    """Of the products that have a title and a category, those whose title has all words of the category's last name."""
    found = [wanted[code[row]] <= said[row] for row in rows.tolist() if code[row] >= 0 and said[row] and wanted[code[row]]]
    return float(np.mean(found)) if found else None


def _words(text: str) -> frozenset[str]:
    # "T-Shirts", "T Shirt" and "Tshirts" are one word.
    return frozenset(_stem(word) for word in _WORD.findall(re.sub(r"\bt[- ]shirt", "tshirt", text.casefold())))


def _stem(word: str) -> str:
    """English plurals aside, roughly: "dresses" and "dress", "shirts" and "shirt"."""
    word = word.removesuffix("es") if word.endswith(("ses", "shes", "ches", "xes")) else word
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word


def contradictions(feeds: FeedColumns) -> list[dict[str, Any]]:
    """Equal titles and near-duplicates whose labels contradict each other. One that stops above the other says less, not something else."""
    results: list[dict[str, Any]] = [{} for _ in feeds.names]
    for name, column in (("title", "title_key"), ("group", "group")):
        found = _disagreeing(feeds, feeds.codes(column))
        inside = feeds.shares(found.mask)
        for number, figures in enumerate(results):
            figures[f"{name}_conflicts"] = int((found.platform == number).sum())
            figures[f"{name}_conflict_share"] = inside[number]
        _show(feeds, f"{name}_conflict", found)
    return results


def raw_categories(feeds: FeedColumns) -> list[dict[str, Any]]:
    """Raw categories whose products have different labels, and the share of products off their raw category's most frequent label."""
    raw = feeds.codes("raw_category")
    found = _disagreeing(feeds, raw)
    _show(feeds, "raw_category_conflict", found)
    both = (raw >= 0) & (feeds.label >= 0)
    minority = np.bincount(feeds.platform[found.off], minlength=len(feeds.names))
    counted = np.bincount(feeds.platform[both], minlength=len(feeds.names))
    results = []
    for number in range(len(feeds.names)):
        rows = feeds.rows(number)
        results.append(
            {
                "raw_categories": len(np.unique(raw[rows][raw[rows] >= 0])),
                "raw_category_conflicts": int((found.platform == number).sum()),
                "off_raw_category": float(minority[number] / counted[number]) if counted[number] else None,
            }
        )
    return results


@dataclass(frozen=True)
class _Disagreeing:
    """Sets of products of one platform whose labels contradict each other.

    Args:
        platform: int [s].
        rows: of each set, its labelled products.
        mask: bool [n]: in such a set. off: bool [n]: and not under the set's most frequent label.
    """

    platform: np.ndarray
    rows: list[np.ndarray]
    mask: np.ndarray
    off: np.ndarray


def _disagreeing(feeds: FeedColumns, code: np.ndarray) -> _Disagreeing:
    platforms, n = len(feeds.names), len(code)
    mask, off = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    usable = np.flatnonzero((code >= 0) & (feeds.label >= 0))
    sets, member = np.unique(code[usable] * platforms + feeds.platform[usable], return_inverse=True)
    order = np.argsort(member, kind="stable")
    bounds = np.searchsorted(member[order], np.arange(len(sets) + 1))
    kinds = np.unique(np.stack([member, feeds.label[usable]], axis=1), axis=0)
    several = np.flatnonzero(np.bincount(kinds[:, 0], minlength=len(sets)) > 1) if len(kinds) else np.empty(0, dtype=np.int64)
    rows_of, platform = [], []
    for number in several.tolist():
        rows = usable[order[bounds[number] : bounds[number + 1]]]
        count = Counter(feeds.label[rows].tolist())
        deepest = feeds.paths[max(count, key=lambda label: len(feeds.paths[label]))]
        if all(deepest[: len(feeds.paths[label])] == feeds.paths[label] for label in count):
            continue
        rows_of.append(rows)
        platform.append(int(sets[number] % platforms))
        mask[rows] = True
        common = feeds.paths[max(count, key=lambda label: (count[label], -label))]
        contrary = {label for label in count if not _one_path(feeds.paths[label], common)}
        off[rows] = np.isin(feeds.label[rows], list(contrary))
    return _Disagreeing(np.array(platform, dtype=np.int64), rows_of, mask, off)


def _one_path(one: CategoryPath, other: CategoryPath) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _show(feeds: FeedColumns, problem: str, found: _Disagreeing) -> None:
    raw = feeds.table["raw_category"]
    for number in range(len(feeds.names)):
        own = sorted((rows for rows, platform in zip(found.rows, found.platform, strict=True) if platform == number), key=len, reverse=True)
        for rows in own[: feeds.config.examples]:
            count = Counter(feeds.label[rows].tolist()).most_common()
            labels = "; ".join(f"{format_path(feeds.paths[label])} {products}" for label, products in count[:5])
            row = int(rows[0])
            feeds.example(problem, row, len(rows), f"{raw[row].as_py()}: {labels}" if problem == "raw_category_conflict" else labels)


def unseen(feeds: FeedColumns, tree: Taxonomy | None) -> list[dict[str, Any]]:
    """Labels and raw categories of a platform that the tree, or no other platform, has. A raw category is known by any of its parts."""
    raw, texts = feeds.codes("raw_category"), feeds.texts("raw_category")
    parts = [{part for part in (_plain(part) for part in _PARTS.split(text)) if part} for text in texts]
    by_label: list[set[int]] = [set() for _ in feeds.paths]
    by_name: dict[str, set[int]] = defaultdict(set)
    for label, platform in np.unique(np.stack([feeds.label, feeds.platform], axis=1), axis=0).tolist():
        if label >= 0:
            by_label[label].add(platform)
            for name in feeds.paths[label]:
                by_name[_plain(name)].add(platform)
    for text, platform in np.unique(np.stack([raw, feeds.platform], axis=1), axis=0).tolist():
        for part in parts[text] if text >= 0 else ():
            by_name[part].add(platform)
    named = {_plain(category.path[-1]) for category in tree.categories} if tree is not None else set()
    results = []
    for number in range(len(feeds.names)):
        rows = feeds.rows(number)
        others = {number}
        labels = Counter(feeds.label[rows][feeds.label[rows] >= 0].tolist())
        raws = Counter(raw[rows][raw[rows] >= 0].tolist())
        if tree is not None:
            new_labels = [label for label in labels if feeds.paths[label] not in tree]
            new_raws = [text for text in raws if not parts[text] & named]
        else:
            deeper = {
                feeds.paths[label][:level]
                for label, found in enumerate(by_label)
                if found - others
                for level in range(1, len(feeds.paths[label]) + 1)
            }
            new_labels = [label for label in labels if feeds.paths[label] not in deeper]
            new_raws = [text for text in raws if not any(by_name[part] - others for part in parts[text])]
        _show_unseen(feeds, rows, new_labels, labels, feeds.label, "unseen_label", [format_path(path) for path in feeds.paths])
        _show_unseen(feeds, rows, new_raws, raws, raw, "unseen_raw_category", texts)
        results.append(
            {
                "unseen_labels": len(new_labels),
                "unseen_label_share": sum(labels[label] for label in new_labels) / len(rows),
                "unseen_raw_categories": len(new_raws),
                "unseen_raw_category_share": sum(raws[text] for text in new_raws) / len(rows),
            }
        )
    return results


def _show_unseen(
    feeds: FeedColumns, rows: np.ndarray, new: Sequence[int], count: Counter[int], codes: np.ndarray, problem: str, texts: Sequence[str]
) -> None:
    for code in sorted(new, key=lambda code: (-count[code], code))[: feeds.config.examples]:
        feeds.example(problem, int(rows[np.flatnonzero(codes[rows] == code)[0]]), count[code], texts[code])


def _plain(name: str) -> str:
    return " ".join(sorted(_words(name)))

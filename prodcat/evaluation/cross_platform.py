"""Leave one platform out: which platforms are left out in turn and what goes with them, and the figures of each as if it were new. Knows no model.

Shapes: n products, C columns (taxonomy.HeadLayout).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prodcat.errors import ConfigError
from prodcat.evaluation.metrics import ancestor_sums, score_slice, truncate
from prodcat.evaluation.paired import Paired, paired
from prodcat.taxonomy import HasLayout

Inputs = Literal["text", "image", "text+image"]
INPUTS: tuple[Inputs, ...] = ("text", "image", "text+image")


@dataclass(frozen=True)
class RelatedShops:
    """Shops that must not stand on different sides: one shop under two names, or in two countries, or of one company.

    Args:
        groups: each a set of platforms. A platform may stand in several; only what stands in a group with it is related to it.
    """

    groups: tuple[tuple[str, ...], ...] = ()

    def of(self, platform: str) -> frozenset[str]:
        """The platform and all that is left out with it."""
        return frozenset({platform}).union(*(group for group in self.groups if platform in group))

    def check(self, platforms: Collection[str]) -> None:
        """Raises ConfigError for a group of one, and if none of a group is a platform of the catalog: then its names are misspelt."""
        for group in self.groups:
            if len(set(group)) < 2:
                raise ConfigError(f"related: {list(group)} names one platform; a group has at least two")
            if not set(group) & set(platforms):
                raise ConfigError(f"related: none of {list(group)} is a platform of the catalog, which has {', '.join(sorted(platforms))}")


@dataclass(frozen=True)
class Answered:
    """What one model, or one baseline, answers on the products that a platform is judged by.

    Args:
        name: what it is called.
        pred: int [n] nodes.
    """

    name: str
    pred: np.ndarray


def figures(pred: np.ndarray, target: np.ndarray, groups: np.ndarray, tree: HasLayout, seed: int) -> dict[str, Any]:
    """{products, hierarchical: {precision, recall, f1, f1_ci}, levels}; the deepest level's macro_f1 is over the leaves that the products have."""
    found = score_slice(pred, target, groups, tree, seed)
    return {name: found[name] for name in ("products", "hierarchical", "levels")}


def against(pred: np.ndarray, other: np.ndarray, target: np.ndarray, groups: np.ndarray, tree: HasLayout, seed: int) -> Paired:
    """The first answers against the others, on the same products."""
    first, second = (ancestor_sums(truncate(each, target, tree), target, tree) for each in (pred, other))
    return paired(first, second, groups, seed)


def best(answers: Sequence[Answered], target: np.ndarray, tree: HasLayout) -> Answered:
    """The one with the highest hierarchical F1; the first of equal ones."""
    return max(answers, key=lambda each: score_slice(each.pred, target, np.arange(len(target)), tree, 0)["hierarchical"]["f1"])


def verdict(kinds: Mapping[str, np.ndarray], target: np.ndarray, groups: np.ndarray, tree: HasLayout, seed: int) -> dict[str, Any] | None:
    """Early or late fusion for a platform, as the paper asks: {ship, over, difference, difference_ci, shown}.

    Args:
        kinds: fusion -> int [n] nodes, its answers to the products of the platform as a new one.

    Returns:
        `ship` is the better of the two; `shown` says whether the interval of the difference leaves 0 out, and where it does not either will do.
        None unless both were trained.
    """
    if not {"early", "late"} <= kinds.keys():
        return None
    found = against(kinds["early"], kinds["late"], target, groups, tree, seed)
    ship, over, sign = ("early", "late", 1.0) if found.difference > 0 else ("late", "early", -1.0)
    return {
        "ship": ship,
        "over": over,
        "difference": sign * found.difference,
        "difference_ci": sorted(sign * value for value in found.difference_ci),
        "shown": found.shown,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """What `cross-platform` has found, as tables for people."""
    related = "; ".join(" + ".join(group) for group in found["related"]) or "none named"
    lines = [
        f"Leave one platform out: {len(found['folds'])} folds over {found['products']:,} products of {found['platforms']} platforms; trained on at "
        f"most {found['train_per_category']} products of a platform and category, judged on at most {found['score_products']:,} of a platform. "
        f"Hierarchical F1 with 95 % intervals over near-duplicate groups; seed {found['seed']}. A label that stops above a leaf is judged down to "
        f"its level. Shops that are related to the one left out are left out with it: {related}.",
        "",
        "## As a new shop",
        "",
        "| platform | input | products | classes | best baseline | its F1 | prodcat | F1 | errors, times the baseline's | leaf macro F1 "
        "| self-trained | errors |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for fold in found["folds"]:
        row = fold["shipped"]
        again = row.get("self_trained")
        base = fold["baselines"][fold["best_baseline"]] if fold["best_baseline"] else None
        lines.append(
            f"| {fold['platform']} | {fold['inputs']} | {row['figures']['products']:,} | {fold['classes']} | {fold['best_baseline'] or ''} "
            f"| {_interval(base['hierarchical']) if base else ''} | {row['name']} | {_interval(row['figures']['hierarchical'])} "
            f"| {_ratio(row['against_baseline'])} | {_macro(row['figures'])} "
            f"| {_interval(again['figures']['hierarchical']) if again else ''} | {_ratio(again['against_baseline']) if again else ''} |"
        )
    lines += ["", "## Fusion by fusion, and against the same model trained with the platform", ""]
    lines += ["| platform | input | fusion | as a new shop | on test products only | trained with it | lost |", "|---|---|---|---|---|---|---|"]
    for fold in found["folds"]:
        for kind, row in fold["kinds"].items():
            known, same = row["known"], row["unseen_on_test"]
            lines.append(
                f"| {fold['platform']} | {fold['inputs']} | {kind} | {_interval(row['unseen']['hierarchical'])} "
                f"| {_interval(same['hierarchical']) if same else ''} | {_interval(known['hierarchical']) if known else ''} "
                f"| {known['hierarchical']['f1'] - same['hierarchical']['f1']:+.4f} |"
                if known and same
                else f"| {fold['platform']} | {fold['inputs']} | {kind} | {_interval(row['unseen']['hierarchical'])} | | | |"
            )
    lines += _labelled(found)
    lines += ["", "## Part by part", "", "| platform | input | fusion | hierarchical F1, each part on top of those before |", "|---|---|---|---|"]
    for fold in found["folds"]:
        for kind, row in fold["kinds"].items():
            parts = ", ".join(f"{step['part']} {step['f1']:.4f}" for step in row["parts"])
            lines.append(f"| {fold['platform']} | {fold['inputs']} | {kind} | {parts} |")
    lines += ["", "## Which fusion to ship", "", "| platform | input | ship | ahead by | sure |", "|---|---|---|---|---|"]
    for fold in found["folds"]:
        if said := fold["verdict"]:
            low, high = said["difference_ci"]
            sure = "yes" if said["shown"] else f"no: {said['over']} will do as well"
            lines.append(f"| {fold['platform']} | {fold['inputs']} | {said['ship']} | {said['difference']:.4f} [{low:.4f}, {high:.4f}] | {sure} |")
    lines += ["", "## What is different, and what it explains", ""]
    lines += ["Of the loss on a new shop, the share that goes when the known products are weighed to have its labels, then its words or photos.", ""]
    lines += [
        "| platform | input | labels, bits | words unknown | titles without a known word | told apart by text | by image | explained |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fold in found["folds"]:
        shift = fold["shift"]
        words = shift["vocabulary"]
        steps = ", ".join(f"{step['what']} {step['explains']:.0%}" for step in shift["steps"] if step["explains"] is not None)
        lines.append(
            f"| {fold['platform']} | {fold['inputs']} | {shift['labels']:.2f} "
            f"| {_share(words, 'unknown_words')} | {_share(words, 'without_known_word')} "
            f"| {_area(shift['text_area'])} | {_area(shift['image_area'])} | {steps} |"
        )
    return "\n".join(lines) + "\n"


def _labelled(found: Mapping[str, Any]) -> list[str]:
    """What labelled products of the platform buy: a column a size."""
    sizes = sorted({row["labelled"] for fold in found["folds"] for row in fold["shipped"]["labelled"]})
    if not sizes:
        return []
    lines = ["", "## With labelled products of the platform", ""]
    lines += ["Judged on its test products; closed: of what is lost against the same model trained with all of it.", ""]
    lines += [f"| platform | input | fusion | none | {' | '.join(map(str, sizes))} | trained with it | closed |", "|---" * (len(sizes) + 5) + "|"]
    for fold in found["folds"]:
        shipped = fold["shipped"]
        if not shipped["labelled"]:
            continue
        row = fold["kinds"][shipped["name"]]
        with_some = {each["labelled"]: each["f1"] for each in shipped["labelled"]}
        none, known = row["unseen_on_test"]["hierarchical"]["f1"], row["known"]["hierarchical"]["f1"]
        cells = " | ".join(f"{with_some[size]:.4f}" if size in with_some else "" for size in sizes)
        closed = ", ".join(f"{(value - none) / (known - none):.0%} by {size}" for size, value in with_some.items()) if known > none else ""
        lines.append(f"| {fold['platform']} | {fold['inputs']} | {shipped['name']} | {none:.4f} | {cells} | {known:.4f} | {closed} |")
    return lines


def _interval(figures: Mapping[str, Any]) -> str:
    low, high = figures["f1_ci"]
    return f"{figures['f1']:.4f} [{low:.4f}, {high:.4f}]"


def _ratio(found: Mapping[str, Any] | None) -> str:
    if found is None or found["errors"] is None:
        return ""
    low, high = found["errors_ci"]
    return f"{found['errors']:.2f} [{low:.2f}, {high:.2f}]"


def _macro(figures: Mapping[str, Any]) -> str:
    levels = figures["levels"]
    return f"{levels[max(levels, key=int)]['macro_f1']:.4f}"


def _share(values: Mapping[str, float] | None, name: str) -> str:
    return "" if values is None else f"{values[name]:.0%}"


def _area(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"

"""Feed quality as a catalog manager reads it: what stands out, a table, one CSV row a platform. Computes nothing that is not in the metrics."""

from collections.abc import Callable
from typing import Any

from prodcat.evaluation.feeds.compose import FeedQuality

_MOST = 5


def _refused(figures: dict[str, Any]) -> str:
    return f" (refused: {_counts(figures['image_refused'])})" if figures["image_refused"] else ""


def _under(distinct: float | None) -> float | None:
    return None if distinct is None else 1 - distinct


def _shallow(figures: dict[str, Any]) -> float | None:
    depths = figures["label_depths"]
    return depths.get("1", 0) / sum(depths.values()) if depths else None


def _second_language(figures: dict[str, Any]) -> float:
    return 1 - max(figures["languages"].values()) / figures["products"]


def _counts(counts: dict[str, int], most: int | None = _MOST) -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:most])
    return shown + (", …" if most is not None and len(counts) > most else "")


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    # Not to hide that there is one.
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def _range(spread: dict[str, float] | None) -> str:
    return "–" if spread is None else f"{spread['median']:.0f} ({spread['p5']:.0f}–{spread['p95']:.0f})"


def _cell(text: str) -> str:
    """Names come from shops: nothing in them is markup, and a cell ends where we say."""
    for sign in ("\\", "|", "`", "*", "_", "[", "]", "<", "#"):
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


# What is worth a sentence: from which share on, and the sentence. A figure that is None says nothing.
_SENTENCES: tuple[tuple[float, Callable[[dict[str, Any]], float | None], Callable[[dict[str, Any]], str]], ...] = (
    (0.05, lambda f: 1 - f["with_image"], lambda f: "no usable image" + _refused(f)),
    (0.005, lambda f: 1 - f["with_title"], lambda f: "no title, the image alone tells what they are"),
    (0.05, lambda f: 1 - f["with_label"], lambda f: "no label"),
    (0.5, lambda f: 1 - f["with_raw_category"], lambda f: "no category of the shop's own"),
    (
        0.05,
        lambda f: f["template_share"],
        lambda f: f"a title that {f['template_products']} products or more share (titles: {f['template_titles']:,})",
    ),
    (0.3, lambda f: _under(f["distinct_titles"]), lambda f: "a title that another product of the shop has already"),
    (0.01, lambda f: f["copies"], lambda f: "nothing to tell them from an earlier product: title, description, brand and image are the same"),
    (0.005, lambda f: f["copies_elsewhere"], lambda f: "nothing to tell them from a product of another platform"),
    (0.02, lambda f: f["near_duplicates_elsewhere"], lambda f: f"a near-duplicate at another platform ({_counts(f['near_duplicates_with'])})"),
    (0.005, lambda f: f["title_conflict_share"], lambda f: f"a title whose products have different labels (titles: {f['title_conflicts']:,})"),
    (0.005, lambda f: f["group_conflict_share"], lambda f: f"near-duplicates with another label (groups: {f['group_conflicts']:,})"),
    (
        0.05,
        lambda f: f["off_raw_category"],
        lambda f: f"another label than most of their raw category ({f['raw_category_conflicts']:,} of {f['raw_categories']:,} raw categories)",
    ),
    (0.5, _shallow, lambda f: f"labels that stop at level 1 (by level: {_counts(f['label_depths'])})"),
    (0.005, lambda f: f["unseen_label_share"], lambda f: f"a category that is not in {f['reference']} (categories: {f['unseen_labels']:,})"),
    (
        0.2,
        lambda f: f["unseen_raw_category_share"],
        lambda f: f"a raw category of which no part is in {f['reference']} ({f['unseen_raw_categories']:,} of {f['raw_categories']:,})",
    ),
    (1.0, lambda f: float(f["categories"] == 1), lambda f: "one and the same label"),
    (0.2, lambda f: f["one_word_titles"], lambda f: "a title of one word"),
    (0.5, lambda f: f["category_in_title"], lambda f: "the label's own words in the title: what text gets right here says little of other shops"),
    (0.5, lambda f: f["raw_category_in_title"], lambda f: "the words of their raw category in the title, as if it had been taken from there"),
    (0.005, _second_language, lambda f: f"another language than most, or none that is known ({_counts(f['languages'])})"),
    (
        0.0001,
        lambda f: sum(f["language_problems"].values()) / f["products"],
        lambda f: f"a language that is none ({_counts(f['language_problems'])})",
    ),
)
# Columns of the table: heading, and how the figure is written.
_TABLE: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("Products", lambda f: f"{f['products']:,}"),
    ("Rows rejected", lambda f: f"{sum(f['rejected'].values()):,}" if f["rejected"] is not None else "–"),
    ("Image", lambda f: _percent(f["with_image"])),
    ("Title", lambda f: _percent(f["with_title"])),
    ("Description", lambda f: _percent(f["with_description"])),
    ("Brand", lambda f: _percent(f["with_brand"])),
    ("Raw category", lambda f: _percent(f["with_raw_category"])),
    ("Label", lambda f: _percent(f["with_label"])),
    ("Label depth", lambda f: "–" if f["label_depth"] is None else f"{f['label_depth']:.1f}"),
    ("Label source", lambda f: _counts(f["label_sources"], 2)),
    ("Categories", lambda f: f"{f['categories']:,}"),
    ("Language", lambda f: next(iter(f["languages"]))),
    ("Title, characters", lambda f: _range(f["title_characters"])),
    ("Title, words", lambda f: _range(f["title_words"])),
    ("Shared titles", lambda f: _percent(f["template_share"])),
    ("Copies", lambda f: _percent(f["copies"])),
    ("Near-duplicates", lambda f: _percent(f["near_duplicates"])),
    ("Near-duplicates elsewhere", lambda f: _percent(f["near_duplicates_elsewhere"])),
    ("Label conflicts", lambda f: _percent(f["group_conflict_share"])),
    ("Off raw category", lambda f: _percent(f["off_raw_category"])),
    ("Unseen labels", lambda f: _percent(f["unseen_label_share"])),
)


def findings(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """[{platform, share, sentence}]: what stands out, platform by platform in the metrics' order, the largest share first."""
    found = []
    for name, figures in metrics["platforms"].items():
        shown = {**figures, "template_products": metrics["template_products"], "reference": metrics["reference"]}
        own = [(share, say(shown)) for least, of, say in _SENTENCES if (share := of(shown)) is not None and share >= least]
        found += [{"platform": name, "share": share, "sentence": sentence} for share, sentence in sorted(own, key=lambda entry: -entry[0])]
    return found


def csv_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a platform: every figure, lists as text. The same columns in every row."""
    rows = []
    for name, figures in metrics["platforms"].items():
        row: dict[str, Any] = {"platform": name}
        for key, value in figures.items():
            if key in ("title_characters", "title_words"):
                spread = value or {"p5": None, "median": None, "p95": None}
                row |= {f"{key}_{part}": number for part, number in spread.items()}
            else:
                row[key] = _counts(value, most=None) if isinstance(value, dict) else value
        rows.append(row)
    return rows


def markdown(quality: FeedQuality) -> str:
    """A page: what stands out, the table, the rejected rows by file."""
    metrics = quality.metrics
    lines = [
        "# Feed quality",
        "",
        f"{metrics['products']:,} products of {len(metrics['platforms']):,} platforms; {sum(metrics['rejected'].values()):,} rows rejected"
        f"{': ' + _counts(metrics['rejected']) if metrics['rejected'] else ''}. What is new is new to {metrics['reference']}. Examples of everything "
        "stand in examples.csv.",
        "",
        "## What stands out",
        "",
        "Share of the platform's products.",
        "",
    ]
    by_platform: dict[str, list[dict[str, Any]]] = {}
    for finding in findings(metrics):
        by_platform.setdefault(finding["platform"], []).append(finding)
    for name, own in by_platform.items():
        lines += [f"- **{_cell(name)}** ({metrics['platforms'][name]['products']:,})"]
        lines += [f"  - {_percent(finding['share'])}: {_cell(finding['sentence'])}" for finding in own]
    lines += ["", "## All platforms", "", "Title lengths are medians with the 5th and 95th percentile.", ""]
    lines += ["| Platform | " + " | ".join(heading for heading, _ in _TABLE) + " |", "|---|" + "---:|" * len(_TABLE)]
    lines += [
        f"| {_cell(name)} | " + " | ".join(_cell(write(figures)) for _, write in _TABLE) + " |" for name, figures in metrics["platforms"].items()
    ]
    rejected = {source: entry for source, entry in metrics["sources"].items() if entry["rejected"]}
    if rejected:
        lines += ["", "## Rejected rows by file", "", "| File | Products | Rejected | |", "|---|---:|---:|---|"]
        lines += [
            f"| {_cell(source)} | {entry['products']:,} | {sum(entry['rejected'].values()):,} | {_cell(_counts(entry['rejected']))} |"
            for source, entry in rejected.items()
        ]
    return "\n".join(lines) + "\n"


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """A few lines for a terminal."""
    found = findings(metrics)
    lines = [f"{metrics['products']:,} products of {len(metrics['platforms']):,} platforms, {len(found):,} findings"]
    for name in list(metrics["platforms"])[:_MOST]:
        own = [f"{_percent(finding['share'])} {finding['sentence']}" for finding in found if finding["platform"] == name]
        lines.append(f"  {name}: " + ("; ".join(own[:3]) or "nothing stands out"))
    return lines

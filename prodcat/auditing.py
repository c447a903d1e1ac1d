"""`audit`: from a catalog, and the features a run has stored of it, to a table of labels that are likely wrong. Knows the order and no metric.

    OUT/issues.parquet   ISSUES, the most doubtful first
    OUT/issues.csv       the same for a person, with a column `decision` to fill in; `fit --labels` takes it as it is
    OUT/overlay.csv      key, path, decision of train and validation products: the same for `fit --labels`, without the rest
    OUT/summary.json     how good the judge is, and how many issues of which kind

Every decision is `keep` until a person changes it. Test products are judged too, out of fold as all, for their labels say how far a score can be
trusted; they are not in overlay.csv.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from prodcat.config import Config
from prodcat.encoders.features import read
from prodcat.encoders.inputs import product_text
from prodcat.errors import ConfigError, FeedError
from prodcat.evaluation.label_issues import IssuesConfig, Judged, label_issues
from prodcat.evaluation.out_of_fold import OutOfFoldConfig, out_of_fold
from prodcat.overlay import COLUMNS, KEEP
from prodcat.spreadsheet import harmless, write_csv
from prodcat.stored import Stored, find_stored
from prodcat.taxonomy import format_path

Progress = Callable[[str], None]


class AuditConfig(Config):
    """How labels are audited."""

    features: tuple[str, ...] | None = Field(
        None, description="names of the stored feature sets to judge by; null: all whose encoder did not itself learn from these labels"
    )
    out_of_fold: OutOfFoldConfig = OutOfFoldConfig()
    issues: IssuesConfig = IssuesConfig()


@dataclass(frozen=True)
class Audit:
    """What was found: table ISSUES, and its summary."""

    issues: pa.Table
    summary: dict[str, Any]


def audit(place: Path, out: Path, config: AuditConfig, *, features: Path | None = None, on_progress: Progress = print) -> Audit:
    """Judge every label of a catalog and write OUT.

    Args:
        place: a run folder of `fit`, or a catalog folder.
        features: where the feature sets lie; None: in the run, if it is one.

    Raises:
        FeedError: no catalog, no label, or OUT holds an earlier audit, whose decisions would be lost.
    """
    if out.exists() and any(out.iterdir()):
        raise FeedError(f"{out}: not empty; an audit is written into a new folder, so that no decision is overwritten")
    stored = find_stored(place, features)
    catalog, tree = stored.catalog, stored.catalog.taxonomy
    products = catalog.products(["key", "title", "description", "brand", "path"]).to_pylist()
    products = [product for product in products if product["path"]]
    if tree is None or not products:
        raise FeedError(f"{catalog.path}: no product has a label, so there is nothing to audit")
    keys = [product["key"] for product in products]
    splits = catalog.splits()
    place_of = {key: row for row, key in enumerate(splits["key"].to_pylist())}
    rows = pa.array([place_of[key] for key in keys])
    groups = np.array(splits["group"].take(rows).to_pylist(), dtype=object)
    split = splits["split"].take(rows).to_pylist()
    vectors = {name: read(stored.features[name], keys) for name in _chosen(stored, config, on_progress)}
    titles = [product_text(product["title"], product["description"], product["brand"], ("title",)) for product in products]
    nodes = np.array([tree.index(product["path"]) for product in products])
    on_progress(f"judging {len(keys):,} labels out of fold by title and {sorted(vectors) or 'no features'}")
    probabilities, _ = out_of_fold(titles, vectors, nodes, groups, tree, config.out_of_fold)
    judged = Judged(probabilities, nodes, groups, tree)
    issues = label_issues(judged, keys, split, [product["title"] for product in products], config.issues)
    summary = {
        "catalog": catalog.digest,
        "features": sorted(vectors),
        **_figures(judged),
        **_counts(issues),
        "config": config.model_dump(mode="json"),
    }
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(issues, out / "issues.parquet")
    write_csv(out / "issues.csv", _review_rows(issues), COLUMNS)
    write_csv(out / "overlay.csv", ({name: row[name] for name in COLUMNS} for row in _review_rows(issues) if row["split"] != "test"), COLUMNS)
    (out / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return Audit(issues, summary)


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """An audit in a few lines for a terminal."""
    return [
        f"{summary['labels']:,} labels judged; the judge itself is right out of fold at {summary['level_1_accuracy']:.1%} on level 1, "
        f"{summary['accuracy']:.1%} on the whole path",
        f"near-duplicates: {summary['disagreeing_groups']:,} of {summary['groups_of_several']:,} groups with several labels disagree",
        f"{summary['issues']:,} labels are likely wrong: " + ", ".join(f"{kind} {count:,}" for kind, count in summary["kinds"].items()),
        "  by " + ", ".join(f"{name} {count:,}" for name, count in summary["found_by"].items()),
        "  in " + ", ".join(f"{name} {count:,}" for name, count in summary["splits"].items()) + "; test labels are listed, not to be changed",
    ]


def _chosen(stored: Stored, config: AuditConfig, on_progress: Progress) -> list[str]:
    if config.features is not None:
        unknown = [name for name in config.features if name not in stored.features]
        if unknown:
            raise ConfigError(f"key 'features': no stored features {unknown}; there are {sorted(stored.features)}")
        return list(config.features)
    left_out = sorted(stored.label_trained)
    if left_out:
        on_progress(f"features {left_out} are left out: their encoder learned from these labels, so what it says is not out of fold")
    return [name for name in stored.features if name not in stored.label_trained]


def _figures(judged: Judged) -> dict[str, Any]:
    """How far the judge can be believed, and how far near-duplicates agree."""
    tree = judged.tree
    best = judged.probabilities.argmax(axis=1)
    several = Counter(judged.groups.tolist())
    labels: dict[str, set[int]] = {}
    for group, node in zip(judged.groups, judged.nodes, strict=True):
        labels.setdefault(group, set()).add(int(node))
    return {
        "labels": len(judged.nodes),
        "accuracy": float((best == judged.nodes).mean()),
        "level_1_accuracy": float((tree.path_indices[best, 0] == tree.path_indices[judged.nodes, 0]).mean()),
        "groups_of_several": sum(count > 1 for count in several.values()),
        "disagreeing_groups": sum(len(nodes) > 1 for nodes in labels.values()),
    }


def _counts(issues: pa.Table) -> dict[str, Any]:
    counted = {
        plural: dict(Counter(issues[column].to_pylist())) for plural, column in (("kinds", "kind"), ("found_by", "found_by"), ("splits", "split"))
    }
    return {"issues": issues.num_rows, **counted}


def _review_rows(issues: pa.Table) -> Iterable[dict[str, Any]]:
    """ISSUES as a person reads them: paths in one cell, the decision first to be filled in; `path` is the suggestion, what `accept` takes."""
    for row in issues.to_pylist():
        given, suggested, title = format_path(row.pop("given")), format_path(row.pop("suggested")), row.pop("title") or ""
        yield {"key": row.pop("key"), "decision": KEEP, "given": given, "path": suggested, "title": harmless(title), **row}

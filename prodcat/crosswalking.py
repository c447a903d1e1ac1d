"""`crosswalk`: from a catalog, and a classifier's answers where there are, to a file that maps shops' own categories to the tree.

Knows the order and no rule.
"""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prodcat.catalog.store import Catalog
from prodcat.config import Config
from prodcat.contracts import PREDICTIONS, enforce
from prodcat.crosswalk.checks import Coverage, Finding, coverage, findings
from prodcat.crosswalk.mapping_file import Key, accepted, read, write
from prodcat.crosswalk.proposals import Merged, merge, proposals
from prodcat.crosswalk.rules import NameRules, RuleConfig
from prodcat.crosswalk.votes import Ballot, VoteConfig, answers_of, ballots, labelled_counts
from prodcat.errors import ContractError, CrosswalkError
from prodcat.overlay import ACCEPT
from prodcat.overlay import COLUMNS as OVERLAY_COLUMNS
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

Progress = Callable[[str], None]
_COLUMNS = ["key", "platform", "raw_category", "path", "label_source"]


class CrosswalkConfig(Config):
    """How raw categories are mapped."""

    rules: RuleConfig = RuleConfig()
    votes: VoteConfig = VoteConfig()


@dataclass(frozen=True)
class Checked:
    """What a check found: by platform how much is mapped, and what is wrong or doubtful."""

    coverage: dict[str, Coverage]
    findings: list[Finding]

    @property
    def errors(self) -> int:
        return sum(finding.kind == "error" for finding in self.findings)


def propose(
    catalog: Catalog,
    out: Path,
    config: CrosswalkConfig,
    *,
    predictions: pa.Table | None = None,
    taxonomy: Taxonomy | None = None,
    platforms: Sequence[str] = (),
    on_progress: Progress = print,
) -> Merged:
    """Write OUT, or renew it: what a person decided in it stays.

    Args:
        predictions: PREDICTIONS of the catalog's products; None: only names and labels are asked.
        taxonomy: the tree; None: the catalog's.
        platforms: propose for these only, as for shops of one language; lines of others stay as they are. Empty: for all.

    Raises:
        CrosswalkError: a platform is not in the catalog, OUT is there and is no such file, no product has a raw category, or there is no tree.
    """
    existing = read(out) if out.exists() else []
    tree = _tree(catalog, taxonomy)
    products = catalog.products(_COLUMNS)
    votes = _ballots(products, predictions, config.votes)
    known = sorted({platform for platform, _ in votes})
    if unknown := sorted(set(platforms) - set(known)):
        raise CrosswalkError(f"{catalog.path}: no raw categories of the platforms {unknown}; there are some of {known}")
    votes = {key: ballot for key, ballot in votes.items() if not platforms or key[0] in platforms}
    if not votes:
        raise CrosswalkError(f"{catalog.path}: no product has a raw category; map the feed's own category column to `raw_category` and ingest again")
    on_progress(f"{len(votes):,} raw categories of {len(set(platforms)) or len(known):,} platforms, {len(tree):,} categories of the tree")
    rows = zip(products["path"].to_pylist(), products["label_source"].to_pylist(), strict=True)
    labelled = {path: count for path, count in labelled_counts(rows).items() if path in tree}
    merged = merge(existing, proposals(votes, NameRules(tree, config.rules, labelled), tree, config.votes))
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, merged.lines)
    return merged


def check(
    file: Path,
    catalog: Catalog,
    config: CrosswalkConfig,
    *,
    predictions: pa.Table | None = None,
    taxonomy: Taxonomy | None = None,
) -> Checked:
    """Coverage and conflicts of a mapping file against a catalog. Arguments as in `propose`.

    Raises:
        CrosswalkError: the file cannot be read, or there is no tree.
    """
    lines = read(file)
    products = catalog.products(_COLUMNS)
    votes = _ballots(products, predictions, config.votes)
    without = Counter(products["platform"].filter(products["raw_category"].is_null()).to_pylist())
    return Checked(coverage(lines, votes, without), findings(lines, votes, _tree(catalog, taxonomy), config.votes))


def read_crosswalk(file: Path, taxonomy: Taxonomy | None) -> dict[Key, CategoryPath]:
    """What `ingest` applies: the accepted lines of a file. Raises CrosswalkError as `accepted` does."""
    return accepted(file, read(file), taxonomy)


def write_overlay(file: Path, catalog: Catalog, out: Path) -> dict[str, int]:
    """For a catalog that is there already: the accepted lines as reviewed labels (overlay.py), which `fit --labels` lays over it.

    Products that have a label keep it. Test products are left out: a catalog that is to be measured by mapped labels is ingested with the crosswalk.

    Returns:
        {labels, test}: products that get a label, and test products that would have.

    Raises:
        CrosswalkError: the file cannot be read or applied, a path is not in the catalog's tree, or there is no tree.
    """
    mapped = read_crosswalk(file, _tree(catalog, None))
    splits = catalog.splits()
    split_of = dict(zip(splits["key"].to_pylist(), splits["split"].to_pylist(), strict=True))
    products = catalog.products(_COLUMNS).select(["key", "platform", "raw_category", "path"]).to_pylist()
    unlabelled = {row["key"]: mapped.get((row["platform"], row["raw_category"])) for row in products if not row["path"]}
    given = {key: path for key, path in unlabelled.items() if path is not None}
    rows = [(key, format_path(path), ACCEPT) for key, path in given.items() if split_of[key] != "test"]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([OVERLAY_COLUMNS, *rows])
    return {"labels": len(rows), "test": len(given) - len(rows)}


def read_predictions(place: Path) -> pa.Table:
    """PREDICTIONS from the folder that `classify` wrote to, or from its answers or predictions folder, or one Parquet file."""
    folders = [place / "answers" / "predictions", place / "predictions", place]
    found = next((folder for folder in folders if folder.is_file() or (folder.is_dir() and any(folder.glob("*.parquet")))), None)
    if found is None:
        raise CrosswalkError(f"{place}: no answers here; give the folder that `prodcat classify ... --out FOLDER` wrote to")
    wanted = pa.schema([PREDICTIONS.field(name) for name in ("key", "path", "confidences")])
    try:
        return enforce(pq.read_table(found, columns=wanted.names, partitioning=None), wanted, "answers")
    except (OSError, pa.ArrowException, ContractError) as error:
        raise CrosswalkError(f"{found}: not the answers of `prodcat classify` ({error})") from error


def proposal_lines(merged: Merged) -> list[str]:
    """A proposal in a few lines for a terminal."""
    how = ", ".join(f"{name} {count:,}" for name, count in merged.how.items()) or "none"
    return [
        f"{len(merged.lines):,} lines: {merged.new:,} new, {merged.renewed:,} proposed anew, {merged.kept:,} kept as decided, {merged.gone:,} gone",
        f"with a path: {how}; open: {merged.open:,}",
    ]


def check_lines(summary: dict[str, Any]) -> list[str]:
    """A check for a terminal."""
    lines = []
    for platform, found in summary["coverage"].items():
        products, raw = found["products"], found["raw_categories"]
        levels = ", ".join(f"level {level} {count / products:.1%}" for level, count in found["by_level"].items()) or "none"
        lines.append(
            f"{platform}: {found['mapped']:,} of {raw:,} raw categories mapped, {found['proposed']:,} proposed, {found['open']:,} open, "
            f"{found['rejected']:,} rejected; products: {levels}"
            + (f"; {found['without_raw_category']:,} have no raw category" if found["without_raw_category"] else "")
        )
    lines += [f"{summary['file']}, line {finding['line']}: {finding['kind']}: {finding['text']}" for finding in summary["findings"]]
    return [*lines, f"{summary['errors']:,} errors, {len(summary['findings']) - summary['errors']:,} warnings"]


def check_summary(file: Path, checked: Checked) -> dict[str, Any]:
    """What JSON can hold."""
    return {
        "file": str(file),
        "coverage": {platform: asdict(found) for platform, found in checked.coverage.items()},
        "findings": [asdict(finding) for finding in checked.findings],
        "errors": checked.errors,
    }


def _ballots(products: pa.Table, predictions: pa.Table | None, config: VoteConfig) -> dict[Key, Ballot]:
    return ballots(products, answers_of(predictions, config.confidence) if predictions is not None else {})


def _tree(catalog: Catalog, taxonomy: Taxonomy | None) -> Taxonomy:
    tree = taxonomy or catalog.taxonomy
    if tree is None:
        raise CrosswalkError(f"{catalog.path}: no product is labelled, so there is no tree; give one with --taxonomy FILE or --bundle BUNDLE")
    return tree

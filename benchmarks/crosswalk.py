"""How far a shop's own categories can be mapped without its labels: by names alone, and with the votes of a classifier trained on other shops.

    python benchmarks/crosswalk.py [--shared ../shared/data] [--rows 2500]

For each of six shops: its labels are hidden, the tree and the counts of labelled products come from the other shops, and the classifier (TF-IDF of
words and characters, linear SVM; evaluation/baseline.py) is trained on the other shops' titles, at most --rows of each and four times as many of
myntra. Shops whose labels are words of the title train nothing, and a shop's own other outlets stay out. Every raw category is proposed a path with
and without the votes, with the default settings, and held against platforms/category_mapping.csv, which a person made:

    exact      the same path
    ancestor   a path above it: right, but less deep
    below      a path below it: the person left open what the proposal says; counted as not right
    wrong      another path
    unjudged   the person mapped it nowhere
    open       no proposal

right = (exact + ancestor) / (exact + ancestor + below + wrong).
Rules and default thresholds were chosen by the results of five of these shops; thredup's were not looked at before.
For tiki, whose language no name of the tree is in, a fourth way: names again, with ten words of that language given as `rules.same`.
Writes benchmarks/results/crosswalk.json.
"""

import argparse
import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prodcat.crosswalk.mapping_file import Line
from prodcat.crosswalk.proposals import proposals
from prodcat.crosswalk.rules import NameRules
from prodcat.crosswalk.votes import ballots
from prodcat.crosswalking import CrosswalkConfig
from prodcat.evaluation.baseline import BaselineConfig, TfidfBaseline
from prodcat.taxonomy import CategoryPath, Taxonomy

RESULTS = Path(__file__).parent / "results" / "crosswalk.json"
TARGETS = ("hm", "flipkart", "tiki", "thredup", "shein_us", "shoppersstop")
# Their labels are words of their titles, or they have none.
NOT_TRAINED_ON = ("koton", "adl_tr", "asos_ru", "lamoda_ru", "shein_fr", "boohoo_fr")
SAME_SHOP = {"hm": ("ew_hm",)}
# Written by looking at tiki's raw categories for five minutes; in Vietnamese the first word says what a thing is.
WORDS_GIVEN = {
    "tiki": {
        "head": "first",
        "same": [
            ["balo", "backpacks"],
            ["vali", "trolley bag"],
            ["ví", "wallets"],
            ["túi", "bags"],
            ["giày", "shoes"],
            ["dép", "footwear"],
            ["giày cao gót", "heels"],
            ["giày búp bê", "flats"],
            ["giày tây", "formal shoes"],
            ["cặp đựng laptop", "laptop bag"],
        ],
    }
}
COLUMNS = ["platform", "product_id", "title", "raw_category", "level1", "level2", "level3"]
KINDS = ("exact", "ancestor", "below", "wrong", "unjudged", "open")


def path_of(names: Iterable[str | None]) -> CategoryPath:
    path: list[str] = []
    for name in names:
        if not name:
            break
        path.append(name)
    return tuple(path)


def rows_of(shared: Path) -> dict[str, list[dict[str, Any]]]:
    """Platform -> its rows, with `path`; myntra's two files are one platform."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in [*sorted((shared / "platforms").glob("*.parquet")), *sorted((shared / "myntra").glob("*.parquet"))]:
        table = pq.read_table(file, columns=[name for name in COLUMNS if name in pq.read_schema(file).names])
        for row in table.to_pylist():
            row["path"] = path_of(row[f"level{level}"] for level in (1, 2, 3))
            found.setdefault("myntra" if file.parent.name == "myntra" else row["platform"], []).append(row)
    return found


def votes_of(target: str, rows: dict[str, list[dict[str, Any]]], tree: Taxonomy, per_platform: int) -> dict[str, CategoryPath]:
    """Product id -> answered path, by a classifier that has seen none of the target's products."""
    titles: list[str | None] = []
    paths: list[Sequence[str] | None] = []
    draw = np.random.default_rng(0)
    for platform, listed in sorted(rows.items()):
        if platform == target or platform in NOT_TRAINED_ON or platform in SAME_SHOP.get(target, ()):
            continue
        usable = [row for row in listed if row["path"] and row["title"]]
        wanted = min(len(usable), per_platform * (4 if platform == "myntra" else 1))
        chosen = [usable[i] for i in draw.choice(len(usable), wanted, replace=False)] if wanted else []
        titles += [row["title"] for row in chosen]
        paths += [row["path"] for row in chosen]
    model = TfidfBaseline(tree, BaselineConfig(c=1.0, char_ngrams=(3, 5), min_df=3), seed=0).fit(titles, paths)
    mine = rows[target]
    nodes = model.predict([row["title"] for row in mine])
    return {f"{target}/{row['product_id']}": tree.categories[node].path for row, node in zip(mine, nodes, strict=True)}


def kind_of(path: CategoryPath | None, truth: CategoryPath) -> str:
    if path is None:
        return "open"
    if not truth:
        return "unjudged"
    if path == truth:
        return "exact"
    return "ancestor" if truth[: len(path)] == path else "below" if path[: len(truth)] == truth else "wrong"


def figures(lines: dict[tuple[str, str], Line], truth: dict[str, CategoryPath]) -> dict[str, Any]:
    counts = {"raw_categories": Counter[str](), "rows": Counter[str]()}
    by_how: dict[str, Counter[str]] = {}
    for (_, raw), line in lines.items():
        kind = kind_of(line.path, truth[raw])
        counts["raw_categories"][kind] += 1
        counts["rows"][kind] += line.products
        if line.path is not None:
            by_how.setdefault(line.how, Counter())[kind] += line.products
    found: dict[str, Any] = {}
    for what, count in counts.items():
        decided = sum(count[kind] for kind in KINDS[:4])
        found[what] = {
            "total": count.total(),
            "decided": round(1 - count["open"] / count.total(), 4),
            "right": round((count["exact"] + count["ancestor"]) / decided, 4) if decided else None,
            **{kind: count[kind] for kind in KINDS},
        }
    found["rows_by_how"] = {how: dict(count) for how, count in sorted(by_how.items())}
    return found


def said(found: dict[str, Any]) -> str:
    shares = [f"{what} decided {found[what]['decided']:.1%}, right {found[what]['right'] or 0:.1%}" for what in ("raw_categories", "rows")]
    return "; ".join(shares) + " (" + ", ".join(f"{kind} {found['rows'][kind]:,}" for kind in KINDS[:4]) + ")"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    arguments.add_argument("--rows", type=int, default=2500, help="titles of each other shop that the classifier learns from")
    arguments.add_argument("--targets", nargs="*", default=list(TARGETS))
    arguments.add_argument("--out", type=Path, default=RESULTS)
    a = arguments.parse_args()
    rows, config = rows_of(a.shared), CrosswalkConfig()
    with (a.shared / "platforms" / "category_mapping.csv").open(encoding="utf-8", newline="") as stream:
        mapping = list(csv.DictReader(stream))
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "config": config.model_dump(mode="json"),
        "rows_a_platform": a.rows,
        "shops": {},
    }
    for target in a.targets:
        started = time.perf_counter()
        truth = {row["raw_category"]: path_of(row[f"level{level}"] for level in (1, 2, 3)) for row in mapping if row["platform"] == target}
        labelled = Counter(row["path"] for platform, listed in rows.items() if platform != target for row in listed if row["path"])
        tree = Taxonomy(labelled)
        products = pa.table(
            {
                "key": [f"{target}/{row['product_id']}" for row in rows[target]],
                "platform": [target] * len(rows[target]),
                "raw_category": [row["raw_category"] for row in rows[target]],
                "path": pa.nulls(len(rows[target]), pa.list_(pa.string())),
                "label_source": pa.nulls(len(rows[target]), pa.string()),
            }
        )
        rules = NameRules(tree, config.rules, labelled)
        before = time.perf_counter()
        named = proposals(ballots(products, {}), rules, tree, config.votes)
        seconds = time.perf_counter() - before
        answers = votes_of(target, rows, tree, a.rows)
        both = proposals(ballots(products, answers), rules, tree, config.votes)
        voted = {
            key: Line(*key, products=ballot.products, path=ballot.winner(config.votes), how="votes")
            for key, ballot in ballots(products, answers).items()
        }
        result["shops"][target] = {
            "names": figures(named, truth),
            "votes": figures(voted, truth),
            "names and votes": figures(both, truth),
            "seconds_names": round(seconds, 2),
        }
        if target in WORDS_GIVEN:
            given = NameRules(tree, config.rules.model_validate({**config.rules.model_dump(), **WORDS_GIVEN[target]}), labelled)
            result["shops"][target]["names, words given"] = figures(proposals(ballots(products, {}), given, tree, config.votes), truth)
        for way in [way for way in result["shops"][target] if way != "seconds_names"]:
            print(f"{target:13} {way:18} {said(result['shops'][target][way])}", flush=True)
        print(f"{target}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    a.out.parent.mkdir(exist_ok=True)
    a.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""How good a bundle is on a real feed, beside TF-IDF + linear SVM on the title, trained on the same products and scored on the same test split.

    python benchmarks/quality.py FEED --out runs/quality [--config offline] [--set KEY=VALUE ...]

Fits (or goes on with OUT), evaluates, prints a table and writes benchmarks/results/NAME.json: counts, classes, seed, 95 % intervals over groups of
near-duplicates, errors as a ratio to the baseline's. To score leaves of at least ten products only:
`--set evaluate.min_leaf_products=10 --name quality_leaves_of_10`.
"""

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prodcat.commands import run_fit

RESULTS = Path(__file__).parent / "results"


def row(name: str, part: dict[str, Any]) -> dict[str, Any]:
    deepest = max(part["levels"], key=int)
    return {
        "input": name,
        "products": part["products"],
        "hierarchical_f1": round(part["hierarchical"]["f1"], 4),
        "f1_ci": [round(value, 4) for value in part["hierarchical"]["f1_ci"]],
        "leaf_accuracy": round(part["levels"][deepest]["accuracy"], 4),
        "leaf_macro_f1": round(part["levels"][deepest]["macro_f1"], 4),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("feed")
    arguments.add_argument("--out", type=Path, default=Path("runs/quality"))
    arguments.add_argument("--name", default="quality", help="of the file of results")
    arguments.add_argument("--config", default="offline")
    arguments.add_argument("--set", dest="sets", action="append", default=[])
    a = arguments.parse_args()
    summary = run_fit(
        [a.feed], a.out, config=a.config, sets=a.sets, mapping=None, taxonomy=None, say=lambda line: print(line, file=sys.stderr, flush=True)
    )
    metrics = json.loads((a.out / "report" / "metrics.json").read_text())
    rows = [row(name, part) for name, part in metrics["probes"].items()]
    rows += [row("baseline: " + part["name"], part) for part in (metrics["masked_baseline"], metrics["baseline"])]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, python {platform.python_version()}",
        "feed": Path(a.feed).name,
        "profile": a.config,
        # Names of settings and not their folders: those are this machine's.
        "overrides": [entry.partition("=")[0] for entry in a.sets],
        "seed": metrics["seed"],
        "bundle": summary["version"],
        "trained_on": metrics["trained_on"],
        "smallest_leaf": metrics["small_leaves"]["min_products"],
        "test_products": metrics["products"],
        "test_classes": metrics["classes"],
        "valid_paths": metrics["valid_paths"],
        "stage_two_share": round(metrics["cascade"]["stage_two_share"], 4),
        "calibration_error": {
            "before, validation": metrics["reliability"]["on_validation"],
            "test": {**metrics["reliability"]["ece"], "whole answers": metrics["reliability"]["answers"]["ece"]},
        },
        "errors_against_baseline": round(metrics["baseline"]["error_ratio"], 3),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{a.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    for entry in rows:
        low, high = entry["f1_ci"]
        figures = f"F1 {entry['hierarchical_f1']:.4f} [{low:.4f}, {high:.4f}]  leaf accuracy {entry['leaf_accuracy']:.4f}"
        print(f"{entry['input']:<45} {entry['products']:>6}  {figures}")
    print(f"errors against the baseline: {result['errors_against_baseline']:.2f}")


if __name__ == "__main__":
    main()

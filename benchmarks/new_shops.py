"""What every shop would score as a new one: leave one platform out, every kind of fusion, beside what a person would try first.

    python benchmarks/new_shops.py DATA --out runs/new_shops [--config offline] [--set KEY=VALUE ...]

DATA holds platforms/*.parquet and the two files of the main shop, one of them with images. Ingests all of them into one catalog, runs cross-platform
over the shops whose labels do not come from their titles (and, for images, over those that have some), writes benchmarks/results/new_shops.json and
prints the tables and how long it took. Goes on with OUT where it was broken off; the time is then that of what was left.
"""

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prodcat.commands.comparing import run_cross_platform
from prodcat.commands.ingest import run_ingest

RESULTS = Path(__file__).parent / "results"
PLATFORMS = ("hm", "flipkart", "tiki", "thredup", "shein_us", "myntra", "koton")
# One shop under two names, or of one company.
RELATED = (("hm", "ew_hm"), ("shein_us", "shein_fr"), ("myntra", "jabong"))
MAIN_SHOP = ("products.parquet", "products_text_only.parquet")
# What fits into an hour on two cores, a process a core. Shares re-estimated are left out: they cost on every shop but one (docs/log.md).
SETTINGS = (
    "cross_platform.sample.train_per_category=150",
    "cross_platform.sample.score_products=2000",
    "cross_platform.cpus_per_model=1.0",
    "cross_platform.self_training={}",
)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, default=Path("runs/new_shops"))
    arguments.add_argument("--name", default="new_shops", help="of the file of results")
    arguments.add_argument("--config", default="offline")
    arguments.add_argument("--set", dest="sets", action="append", default=[])
    a = arguments.parse_args()
    started = time.perf_counter()
    catalog = a.out / "catalog"
    feeds = [*sorted((a.data / "platforms").glob("*.parquet")), *(a.data / "myntra" / name for name in MAIN_SHOP)]
    if not (catalog / "catalog.json").is_file():
        run_ingest([str(feed) for feed in feeds], catalog, config=None, sets=[], mapping=None, taxonomy=None, say=say)
    sets = [
        f"cross_platform.platforms={list(PLATFORMS)}",
        f"cross_platform.related={[list(group) for group in RELATED]}",
        *SETTINGS,
        *a.sets,
    ]
    summary = run_cross_platform(catalog, a.out / "crossed", config=a.config, sets=sets, say=say)
    found = json.loads(Path(summary["figures"]).read_text(encoding="utf-8"))
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, python {platform.python_version()}",
        "profile": a.config,
        # Names of settings and not their folders: those are this machine's.
        "overrides": [entry.partition("=")[0] for entry in a.sets],
        "seconds": round(time.perf_counter() - started),
        **{name: rounded(value) for name, value in found.items() if name != "catalog"},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{a.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(Path(summary["table"]).read_text(encoding="utf-8"))
    print(f"{result['seconds']} s")


if __name__ == "__main__":
    main()

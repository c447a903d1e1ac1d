"""Batch classification killed again and again: is the result that of a run which nobody disturbed, and how much was done in vain?

    python benchmarks/resume.py BUNDLE CATALOG [--kills 10] [--seed 0]

CATALOG, the folder of an ingested one, is classified by `python -m ray_jobs.classify`, a process that is killed with SIGKILL at a
random moment of its work, so often, and then left to finish. Compared is every row of the answers and rejections that lies in the folder, whatever
its manifest says, with an undisturbed run's: same keys, each once, same paths, confidences to 1e-4 (batches fall otherwise, so a float may differ in
its last digits).

In vain is what must be done again: products that stage one had read and that had no result yet when the run was killed, those that stage two was at
work on among them; as parts of a shard of stage one.

Prints and writes benchmarks/results/resume.json. Exits 1 if a row differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from prodcat.catalog.store import Catalog
from prodcat.ledger import Ledger, among, identities
from prodcat.location import Location

RESULTS = Path(__file__).parent / "results" / "resume.json"
REPOSITORY = Path(__file__).resolve().parents[1]
SHARD = 256
BATCH = 64


def start(catalog: Path, bundle: Path, out: Path, log: Path) -> subprocess.Popen[bytes]:
    arguments = [
        "--bundle",
        str(bundle),
        "--out",
        str(out),
        "--set",
        f"classify.shard_rows={SHARD}",
        "--set",
        f"classify.stage_two.batch_size={BATCH}",
    ]
    command = [sys.executable, "-m", "ray_jobs.classify", str(catalog), *arguments]
    with log.open("ab") as stream:
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=stream, stderr=stream, start_new_session=True)


def rows_in(out: Path) -> list[tuple[str, Any]]:
    """(key, what was said of it), sorted; each row of each file."""
    found = []
    for file in (out / "answers" / "predictions").glob("*.parquet"):
        for row in pq.read_table(file).to_pylist():
            found.append((row["key"], (row["path"], row["stage"], [round(value, 4) for value in row["confidences"]])))
    for file in (out / "answers" / "rejected").rglob("*.parquet"):
        found += [(row["detail"].split(":")[0], row["reason"]) for row in pq.read_table(file).to_pylist()]
    return sorted(found, key=lambda row: row[0])


def close(one: list[tuple[str, Any]], other: list[tuple[str, Any]]) -> int:
    """Rows that differ."""
    if [key for key, _ in one] != [key for key, _ in other]:
        return len({key for key, _ in one} ^ {key for key, _ in other}) or abs(len(one) - len(other))
    bad = 0
    for (_, a), (_, b) in zip(one, other, strict=True):
        same = a == b if isinstance(a, str) or isinstance(b, str) else a[:2] == b[:2] and np.allclose(a[2], b[2], atol=2e-4)
        bad += not same
    return bad


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("catalog", type=Path)
    arguments.add_argument("--kills", type=int, default=10)
    arguments.add_argument("--seed", type=int, default=0)
    a = arguments.parse_args()
    draw = random.Random(a.seed)
    catalog = Catalog.open(a.catalog)
    index = [pq.read_table(file, columns=["key", "digest"]) for file in catalog.product_files()]
    order = np.concatenate([identities(part["key"].to_pylist(), part["digest"].to_pylist(), "predictions") for part in index])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        began = time.perf_counter()
        assert start(catalog.path, a.bundle, Path(folder) / "whole", log).wait() == 0, log.read_text()
        whole_s = time.perf_counter() - began
        out = Path(folder) / "killed"
        kills = []
        while len(kills) < a.kills:
            run = start(catalog.path, a.bundle, out, log)
            ledger = Ledger(Location(str(out / "answers")), ["predictions", "rejected/predictions"])
            commits = out / "answers" / "commits"
            before = len(list(commits.glob("part-*"))) if commits.is_dir() else 0
            while run.poll() is None and (len(list(commits.glob("part-*"))) if commits.is_dir() else 0) == before:
                time.sleep(0.05)
            # From the first shard on, so that every start brings something; then at any moment, early enough that work is left for the other kills.
            time.sleep(draw.uniform(0, whole_s / a.kills / 2))
            if run.poll() is not None:
                print("it was through before it could be killed; start again with more products or fewer kills", file=sys.stderr)
                break
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
            time.sleep(1)
            done = ledger.settle()
            mask = among(order, done)
            last = int(np.flatnonzero(mask)[-1]) if mask.any() else 0
            in_vain = int((~mask[:last]).sum())
            kills.append({"done": len(done), "in_vain_rows": in_vain})
            print(json.dumps(kills[-1]), file=sys.stderr, flush=True)
        assert start(catalog.path, a.bundle, out, log).wait() == 0, log.read_text()
        one, other = rows_in(Path(folder) / "whole"), rows_in(out)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "products": len(order),
        "undisturbed_s": whole_s,
        "kills": kills,
        "rows": len(other),
        "rows_twice": len(other) - len({key for key, _ in other}),
        "rows_that_differ": close(one, other),
        "shard_rows": SHARD,
        "most_in_vain_rows": max(kill["in_vain_rows"] for kill in kills),
        "most_in_vain_shards": max(kill["in_vain_rows"] for kill in kills) / SHARD,
    }
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if result["rows_that_differ"] or result["rows_twice"] or len(one) != len(order) else 0)


if __name__ == "__main__":
    main()

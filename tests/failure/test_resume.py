"""Runs that are killed go on: kill -9 of the driver, a node that is gone. In the end there is what an uninterrupted run gives, no row twice."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow
SHARDS = ("--set", "classify.shard_rows=100", "--set", "classify.stage_two.batch_size=32")


def answers(out: Path) -> list[dict]:
    """All rows below predictions and rejected, whatever the manifest says; confidences to six places."""
    rows = [row for place in ("predictions", "rejected") for file in sorted((out / "answers" / place).rglob("*.parquet")) for row in _rows(file)]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def _rows(file: Path) -> list[dict]:
    rows = pq.read_table(file, partitioning=None).to_pylist()
    for row in rows:
        row["confidences"] = [round(value, 5) for value in row.get("confidences", ())]
        row["alternatives"] = [other["path"] for other in row.get("alternatives", ())]
    return rows


@pytest.fixture(scope="module")
def undisturbed(many: Path, demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    from prodcat.commands import run_classify

    out = tmp_path_factory.mktemp("undisturbed")
    run_classify(demo_run / "bundle", [str(many)], out, config=None, sets=SHARDS[1::2], mapping=None, say=print)
    found = answers(out)
    assert len(found) == 4000
    assert {row.get("stage") for row in found} >= {1, 2}
    return found


def test_classify_goes_on_after_kill_9(job: Callable, many: Path, demo_run: Path, undisturbed: list[dict], tmp_path: Path) -> None:
    out, seed = tmp_path / "out", random.Random(7)
    arguments = (many, "--bundle", demo_run / "bundle", "--out", out, *SHARDS)
    commits = out / "answers" / "commits"
    done = [0]
    for _ in range(2):
        run = job("classify", *arguments)
        run.until(lambda: commits.is_dir() and len(list(commits.glob("part-*"))) > done[-1] + 2)
        time.sleep(seed.uniform(0, 1))
        run.process.send_signal(signal.SIGKILL)
        run.process.wait(30)
        done.append(len(list(commits.glob("part-*"))))
        assert not (out / "answers" / "manifest.json").exists()
    last = job("classify", *arguments).result()
    assert last["classified"] + last["rejected"] == 4000
    assert last["earlier"] > 200
    assert answers(out) == undisturbed
    again = job("classify", *arguments).result()
    assert (again["earlier"], again["classified"]) == (4000, last["classified"])


def test_a_grown_catalog_costs_its_new_rows(job: Callable, many: Path, demo_run: Path, undisturbed: list[dict], tmp_path: Path) -> None:
    """And one whose products changed, or went, has their old answers no more."""
    part, whole = tmp_path / "part", tmp_path / "whole"
    for folder, files in ((part, 3), (whole, 4)):
        (folder / "products").mkdir(parents=True)
        manifest = json.loads((many / "catalog.json").read_text())
        manifest["files"] = manifest["files"][:files]
        (folder / "catalog.json").write_text(json.dumps(manifest))
        for name in manifest["files"]:
            (folder / name).write_bytes((many / name).read_bytes())
    arguments = ("--bundle", demo_run / "bundle", "--out", tmp_path / "out", *SHARDS)
    assert job("classify", part, *arguments).result()["earlier"] == 0
    # One file has grown by the next, of the first one a product changed and one went.
    first = whole / json.loads((whole / "catalog.json").read_text())["files"][0]
    rows = pq.read_table(first)
    digests = rows["digest"].to_pylist()
    place = rows.schema.get_field_index("digest")
    changed = rows.set_column(place, rows.schema.field(place), pa.array(["f" * 64, *digests[1:]]))
    pq.write_table(changed.slice(0, rows.num_rows - 1), first)
    result = job("classify", whole, *arguments).result()
    assert result["earlier"] == 1498
    assert result["classified"] + result["rejected"] == 1999
    assert len({row.get("key") or row["detail"].split(":")[0] for row in answers(tmp_path / "out")}) == 1999


def test_a_node_lost_while_classifying(nodes, job: Callable, many: Path, demo_run: Path, undisturbed: list[dict], tmp_path: Path) -> None:
    """Stage two asks for a GPU; the node that has it goes, and another one comes."""
    nodes.add(cpus=2)
    lost = nodes.add(cpus=1, gpus=1)
    sets = ("--set", "classify.stage_two.gpus=1", *SHARDS)
    run = job("classify", many, "--bundle", demo_run / "bundle", "--out", tmp_path / "out", *sets, address=nodes.address)
    predictions = tmp_path / "out" / "answers" / "predictions"
    run.until(lambda: predictions.is_dir() and any(2 in pq.read_table(file)["stage"].to_pylist() for file in predictions.glob("part-*")))
    nodes.kill(lost)
    nodes.add(cpus=1, gpus=1)
    result = run.result()
    assert result["classified"] + result["rejected"] == 4000
    assert answers(tmp_path / "out") == undisturbed

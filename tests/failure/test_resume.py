"""Runs that are killed go on: kill -9 of the driver, a node that is gone. In the end there is what an uninterrupted run gives, no row twice."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow
PRODUCTS = 3000
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


def classified(catalog: Path, run: Path, out: Path) -> dict[str, Any]:
    """The summary of `classify`, on the cluster that all folders share."""
    from prodcat.commands.classify import run_classify

    return run_classify(run / "bundle", [str(catalog)], out, config=None, sets=SHARDS[1::2], mapping=None, say=print)


@pytest.fixture(scope="module")
def undisturbed(many: Path, demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    out = tmp_path_factory.mktemp("undisturbed")
    classified(many, demo_run, out)
    found = answers(out)
    assert len(found) == PRODUCTS
    assert {row.get("stage") for row in found} >= {1, 2}
    return found


def test_classify_goes_on_after_kill_9(job: Callable, many: Path, demo_run: Path, undisturbed: list[dict], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (many, "--bundle", demo_run / "bundle", "--out", out, *SHARDS)
    commits = out / "answers" / "commits"
    run = job("classify", *arguments)
    run.until(lambda: commits.is_dir() and len(list(commits.glob("part-*"))) > 3)
    run.process.send_signal(signal.SIGKILL)
    run.process.wait(30)
    assert not (out / "answers" / "manifest.json").exists()
    held = sum(pq.read_metadata(shard).num_rows for shard in commits.glob("part-*.parquet"))
    last = classified(many, demo_run, out)
    assert last["classified"] + last["rejected"] == PRODUCTS
    # Its actors may have finished a shard after it had died.
    assert 0 < held <= last["earlier"] < PRODUCTS
    assert answers(out) == undisturbed
    again = classified(many, demo_run, out)
    assert (again["earlier"], again["classified"]) == (PRODUCTS, last["classified"])


def test_a_grown_catalog_costs_its_new_rows(many: Path, demo_run: Path, tmp_path: Path) -> None:
    """And one whose products changed, or went, has their old answers no more."""
    part, whole = tmp_path / "part", tmp_path / "whole"
    for folder, files in ((part, 3), (whole, 4)):
        (folder / "products").mkdir(parents=True)
        manifest = json.loads((many / "catalog.json").read_text())
        manifest["files"] = manifest["files"][:files]
        (folder / "catalog.json").write_text(json.dumps(manifest))
        for name in manifest["files"]:
            (folder / name).write_bytes((many / name).read_bytes())
    assert classified(part, demo_run, tmp_path / "out")["earlier"] == 0
    # One file has grown by the next, of the first one a product changed and one went.
    first = whole / json.loads((whole / "catalog.json").read_text())["files"][0]
    rows = pq.read_table(first)
    digests = rows["digest"].to_pylist()
    place = rows.schema.get_field_index("digest")
    changed = rows.set_column(place, rows.schema.field(place), pa.array(["f" * 64, *digests[1:]]))
    pq.write_table(changed.slice(0, rows.num_rows - 1), first)
    result = classified(whole, demo_run, tmp_path / "out")
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
    assert result["classified"] + result["rejected"] == PRODUCTS
    assert answers(tmp_path / "out") == undisturbed

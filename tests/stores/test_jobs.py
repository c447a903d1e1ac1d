"""The jobs as they are submitted, with all that they read and write in a store."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from prodcat.catalog.store import Catalog
from prodcat.contracts import PREDICTIONS
from prodcat.ledger import Ledger
from prodcat.location import Location
from prodcat.remote import deliver

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(environment: dict[str, str], demo_run: Path, demo_feeds: Path) -> str:
    """A bucket with feeds, a catalog, and a bundle."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        fs.FileSystem.from_uri("s3://shop?allow_bucket_creation=true")[0].create_dir("shop")
        for folder, name in ((demo_feeds, "feeds"), (demo_run / "catalog", "catalog"), (demo_run / "bundle", "bundle")):
            deliver(folder, f"s3://shop/{name}")
    return "s3://shop"


def test_ingest_keeps_the_splits_of_what_is_there(job: Callable, shop: str, bucket: str, demo_run: Path) -> None:
    # The catalog of one of the shops first.
    code, told, said = job("ingest", f"{shop}/feeds/atelier.jsonl", "--out", f"{bucket}/catalog")
    assert code == 0, said
    assert told["catalog"] == f"{bucket}/catalog"
    first = {row["key"]: row["split"] for row in Catalog.open(f"{bucket}/catalog").splits().to_pylist()}
    code, told, said = job("ingest", f"{shop}/feeds", "--out", f"{bucket}/catalog")
    assert code == 0, said
    catalog = Catalog.open(f"{bucket}/catalog")
    assert catalog.digest == Catalog.open(demo_run / "catalog").digest
    assert catalog.products(["source"])["source"][0].as_py().startswith(f"{shop}/feeds/")
    assert told["gone"] == 0
    again = {row["key"]: row["split"] for row in catalog.splits().to_pylist()}
    assert {key: again[key] for key in first} == first


def test_classify_reads_and_writes_in_place(job: Callable, shop: str, bucket: str, tmp_path: Path) -> None:
    arguments = (f"{shop}/catalog", "--bundle", f"{shop}/bundle", "--out", bucket, "--set", f"classify.cache={tmp_path / 'cache'}")
    code, told, said = job("classify", *arguments)
    assert code == 0, said
    products = Catalog.open(f"{shop}/catalog").products(["key"]).num_rows
    assert told["classified"] + told["rejected"] == products
    assert (told["earlier"], told["answers"]) == (0, f"{bucket}/answers/predictions")
    assert Ledger(Location(f"{bucket}/answers"), ()).read("predictions", PREDICTIONS).num_rows == told["classified"]
    # Both stages' actors and the driver have found the bundle in one copy.
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1
    before = Location(bucket).files()
    code, again, said = job("classify", *arguments)
    assert code == 0, said
    assert (again["earlier"], again["classified"]) == (products, told["classified"])
    after = Location(bucket).files()
    # Nothing but the manifest was written.
    assert {name for name, info in after.items() if name not in before or info.mtime != before[name].mtime} <= {"answers/manifest.json"}


def test_embed_and_evaluate(job: Callable, shop: str, bucket: str) -> None:
    code, made, said = job("embed", f"{shop}/catalog", "--encoder", f"{shop}/bundle", "--out", f"{bucket}/features")
    assert code == 0, said
    for found in made.values():
        assert found["folder"].startswith(f"{bucket}/features/")
        files = [file for file in Location(found["folder"]).files() if file.startswith("part-")]
        assert sum(pq.ParquetFile(Location(found["folder"]).child(file).open_file()).metadata.num_rows for file in files) == found["rows"]
    sets = ("--set", "probes=[]", "--set", "baseline=null")
    code, judged, said = job("evaluate", f"{shop}/catalog", "--bundle", f"{shop}/bundle", "--out", f"{bucket}/report", *sets)
    assert code == 0, said
    assert 0 < judged["hierarchical"]["f1"] <= 1
    assert judged["report"].startswith(f"{bucket}/report/")
    assert Location(judged["report"]).is_file()
    assert f'"{shop}/catalog"' in Location(judged["metrics"]).read_bytes().decode()


def test_fit_goes_on_from_a_run_in_the_store(
    job: Callable, shop: str, bucket: str, demo_run: Path, demo_feeds: Path, tiny_settings: tuple[str, ...]
) -> None:
    deliver(demo_run, f"{bucket}/run")
    sets = [part for setting in (*tiny_settings, "evaluate.probes=[]", "evaluate.baseline=null") for part in ("--set", setting)]
    code, told, said = job("fit", demo_feeds, "--config", "offline", "--out", f"{bucket}/run", *sets)
    assert code == 0, said
    assert "stage two: done before" in said
    assert told["bundle"] == f"{bucket}/run/bundle"
    assert Location(told["report"]).is_file()


def test_errors_are_one_line_and_exit_1(job: Callable, shop: str, bucket: str) -> None:
    cases = (
        (("classify", f"{shop}/catalog", "--bundle", f"{shop}/none", "--out", bucket), f"{shop}/none: nothing there"),
        (("ingest", f"{shop}/feeds", "--out", "ftp://host/catalog"), "ftp://host/catalog: not a path or URI that can be read"),
        (("embed", f"{shop}/catalog", "--encoder", f"{shop}/catalog", "--out", f"{bucket}/f"), "no bundle here"),
    )
    for (name, *arguments), expected in cases:
        code, told, said = job(name, *arguments)
        assert code == 1
        assert expected in told["error"]
        assert "Traceback" not in said
        assert said.splitlines()[-1] == f"prodcat: {told['error']}"

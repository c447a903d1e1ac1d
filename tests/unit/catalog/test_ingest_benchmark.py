"""benchmarks/ingest.py on a handful of rows: it counts what was written, what came out and what was lost."""

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def test_the_script_accounts_for_every_row(tmp_path: Path) -> None:
    file = Path(__file__).resolve().parents[3] / "benchmarks" / "ingest.py"
    spec = importlib.util.spec_from_file_location("benchmarks_ingest", file)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, first in (("platforms/a", 0), ("myntra/products", 10), ("myntra/products_text_only", 19)):
        rows = {
            "platform": [name[-1]] * 10,
            "product_id": [str(first + n) for n in range(10)],
            "title": [f"thing {n}" if n else None for n in range(10)],
        }
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(rows | {"level1": ["A"] * 10}), tmp_path / f"{name}.parquet")
    feeds = script.feeds_of(tmp_path)
    result = script.measure(feeds, 2, False, tmp_path / "work")
    assert (result["rows"], result["products"], result["rejected"], result["rows_not_accounted_for"]) == (30, 27, {"nothing_to_read": 3}, 0)
    assert (result["text_rows"], result["categories"], len(result["text_rows_per_second_of_each_round"])) == (30, {"level 1": 1}, 2)
    assert result["examples"]["nothing_to_read"].startswith("platforms/a.parquet, row 1: ")
    assert script.shared_ids(feeds) == 1

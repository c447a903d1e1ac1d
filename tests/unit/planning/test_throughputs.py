"""Throughputs and prices: what is packaged, what a benchmark's results lay over it, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from prodcat.config import validate
from prodcat.errors import ConfigError
from prodcat.planning.prices import read_prices
from prodcat.planning.throughputs import STAGES, Rate, Throughputs, packaged, read_throughputs, with_measured

REPOSITORY = Path(__file__).resolve().parents[3]


def scale(folder: Path, throughputs: Any) -> Path:
    path = folder / "scale.json"
    path.write_text(json.dumps({"date": "today", "throughputs": throughputs}), encoding="utf-8")
    return path


def test_the_packaged_ones_say_of_every_figure_how_it_is_known() -> None:
    found = packaged()
    assert set(found.stages) == set(STAGES)
    rates = [rate for units in found.stages.values() for rate in units.values()]
    for sourced in [*rates, *dict(found.figures).values()]:
        assert sourced.by if sourced.measured else sourced.why, sourced
    assert not any(units["gpu"].measured for units in found.stages.values() if "gpu" in units), "no GPU was measured yet"


def test_measured_figures_are_those_of_the_results_they_name() -> None:
    found, results = packaged(), REPOSITORY / "benchmarks" / "results"
    named = {rate.by.split("results/")[1].split(".json")[0] for units in found.stages.values() for rate in units.values() if rate.by}
    assert all((results / f"{name}.json").is_file() for name in named)
    ingest = json.loads((results / "ingest.json").read_text(encoding="utf-8"))
    assert found.stages["ingest_text"]["cpu"].rows_per_second == ingest["text_rows_per_second"]
    quality = json.loads((results / "quality.json").read_text(encoding="utf-8"))
    assert found.figures.gate_share.value == quality["stage_two_share"]


def test_nodes_are_those_of_the_cluster() -> None:
    kinds = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text(encoding="utf-8"))
    prices = read_prices(None)
    for node, resource in ((prices.nodes.cpu, "CPU"), (prices.nodes.gpu, "GPU")):
        kind = kinds["available_node_types"][node.unit]
        assert (node.instance, node.units, node.most) == (kind["node_config"]["InstanceType"], kind["resources"][resource], kind["max_workers"])
    assert prices.head.instance == kinds["available_node_types"]["head"]["node_config"]["InstanceType"]
    assert prices.idle_seconds == 60 * kinds["idle_timeout_minutes"]


def test_what_a_benchmark_measured_replaces_that_rate_alone(tmp_path: Path, throughputs: Throughputs) -> None:
    path = scale(tmp_path, {"stage_two": {"rows_per_second": 7, "unit": "cpu", "by": "benchmarks/scale.py, here, today"}})
    found = with_measured(throughputs, path)
    assert found.stages["stage_two"]["cpu"] == Rate(rows_per_second=7, measured=True, by="benchmarks/scale.py, here, today")
    assert found.stages["stage_two"]["gpu"] == throughputs.stages["stage_two"]["gpu"]
    assert {name: units for name, units in found.stages.items() if name != "stage_two"} == {
        name: units for name, units in throughputs.stages.items() if name != "stage_two"
    }
    assert "cpu" not in throughputs.stages["stage_two"], "what was there before is left as it is"
    assert read_throughputs(path).stages["stage_two"]["cpu"].measured


def test_a_limit_of_units_outlives_a_measurement(tmp_path: Path) -> None:
    path = scale(tmp_path, {"fit_fusion": {"rows_per_second": 7, "unit": "cpu", "by": "here"}})
    assert read_throughputs(path).stages["fit_fusion"]["cpu"].most_units == packaged().stages["fit_fusion"]["cpu"].most_units


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"embed_txt": {"rows_per_second": 7, "unit": "cpu", "by": "x"}}, "unknown stage 'embed_txt'; known: ingest_text"),
        ({"embed_text": {"rows_per_second": 7, "by": "x"}}, "throughputs.embed_text: expected rows_per_second, by, and unit"),
        ({"embed_text": {"rows_per_second": -7, "unit": "cpu", "by": "x"}}, "'rows_per_second'"),
        ({"embed_text": {"rows_per_second": 7, "unit": "cpu"}}, "says in `by`"),
        ({"embed_text": {"rows_per_second": 7, "unit": "cpu", "by": "x", "rows": 1}}, "unknown key 'rows'"),
        ({"embed_text": 7}, "throughputs.embed_text"),
        ({}, "holds no 'throughputs'"),
        (None, "holds no 'throughputs'"),
    ],
)
def test_an_overlay_that_does_not_fit_is_refused_by_name(tmp_path: Path, entry: Any, message: str) -> None:
    path = scale(tmp_path, entry)
    with pytest.raises(ConfigError) as raised:
        read_throughputs(path)
    assert message in str(raised.value)
    assert f"--throughputs {path}" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_throughputs(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="not JSON"):
        read_throughputs(tmp_path / "broken.json")
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_prices(tmp_path / "none.yaml")


def test_a_whole_file_is_read_as_it_is(tmp_path: Path, throughputs: Throughputs) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(throughputs.model_dump(exclude_none=True)), encoding="utf-8")
    assert read_throughputs(path) == throughputs


def test_a_file_without_a_stage_is_refused(throughputs: Throughputs) -> None:
    document = throughputs.model_dump()
    del document["stages"]["stage_one"]
    with pytest.raises(ConfigError, match="no throughput for stage_one"):
        validate(Throughputs, document, "mine.yaml")


def test_an_assumption_says_why() -> None:
    with pytest.raises(ConfigError, match="says in `why`"):
        validate(Rate, {"rows_per_second": 1, "measured": False, "by": "x"}, "mine.yaml")

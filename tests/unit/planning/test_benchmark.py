"""benchmarks/simulation.py: its stations are what other benchmarks measured and prod.yaml sets."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_simulation", REPOSITORY / "benchmarks" / "simulation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stage_one_is_as_crowded_as_it_was_measured(benchmark: ModuleType) -> None:
    text = benchmark.cascade(benchmark.measured()).text
    busy = json.loads((REPOSITORY / "benchmarks" / "results" / "serving.json").read_text(encoding="utf-8"))["latency_ms"]["80 percent"]
    load = busy["per_second"] / text.rate
    inside = busy["per_second"] * text.base_seconds + text.crowding * load**2 / (1 - load)
    assert inside / busy["per_second"] == pytest.approx(busy["p50"] / 1000)


def test_settings_are_those_that_are_shipped(benchmark: ModuleType) -> None:
    found = benchmark.cascade(benchmark.measured())
    document = yaml.safe_load((REPOSITORY / "serve_configs" / "prod.yaml").read_text(encoding="utf-8"))
    args = document["applications"][0]["args"]
    assert (found.text.max_replicas, found.text.max_ongoing) == (args["text"]["max_replicas"], args["text"]["max_ongoing_requests"])
    assert found.text.per_node == 16
    assert found.multimodal.max_replicas == args["multimodal"]["max_replicas"]
    assert found.stage_two_seconds == args["limits"]["stage_two_seconds"]


def test_larger_days_get_more_replicas(benchmark: ModuleType) -> None:
    found = benchmark.measured()
    small, large = (benchmark.sized(found, size) for size in (1e6, 1e9))
    assert small == benchmark.cascade(found)
    assert large.text.max_replicas > 50
    assert large.multimodal.max_replicas > 5

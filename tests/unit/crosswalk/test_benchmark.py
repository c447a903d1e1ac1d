"""How benchmarks/crosswalk.py counts."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from prodcat.crosswalk.mapping_file import Line


@pytest.fixture(scope="module")
def benchmark_script() -> ModuleType:
    file = Path(__file__).resolve().parents[3] / "benchmarks" / "crosswalk.py"
    spec = importlib.util.spec_from_file_location("benchmarks_crosswalk", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_the_same_path_or_one_above_it_is_right(benchmark_script: ModuleType) -> None:
    truth = {"exact": ("A", "B"), "ancestor": ("A", "B"), "below": ("A",), "wrong": ("C",), "unjudged": (), "open": ("A",)}
    answers = {"exact": ("A", "B"), "ancestor": ("A",), "below": ("A", "B"), "wrong": ("A",), "unjudged": ("A",), "open": None}
    lines = {("s", raw): Line("s", raw, 10, path, "exact" if path else "") for raw, path in answers.items()}
    found = benchmark_script.figures(lines, truth)
    assert {kind: found["raw_categories"][kind] for kind in benchmark_script.KINDS} == dict.fromkeys(benchmark_script.KINDS, 1)
    assert (found["rows"]["total"], found["rows"]["decided"], found["rows"]["right"]) == (60, round(5 / 6, 4), 0.5)


def test_a_label_ends_at_its_first_gap(benchmark_script: ModuleType) -> None:
    assert benchmark_script.path_of(["A", None, "C"]) == ("A",)
    assert benchmark_script.path_of([None]) == ()

"""benchmarks/gpu.py where there is no GPU: the script itself runs, and measures two sides that compute the same."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    file = Path(__file__).resolve().parents[3] / "benchmarks" / "gpu.py"
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_sides_are_measured_and_a_cpu_computes_bf16_in_full(gpu: ModuleType) -> None:
    found = gpu.encoding(gpu.shapes(True)["ViT"], "cpu", 4, 1)
    assert {side for precision in ("fp32", "bf16") for side in found[precision]} == {"bare", "tower", "ratio"}
    assert found["fp32"]["ratio"] == pytest.approx(found["fp32"]["tower"] / found["fp32"]["bare"], rel=0.01)
    assert found["cosine of bf16 to fp32, least"] == 1.0


def test_fusion_is_trained_for_every_seed(gpu: ModuleType) -> None:
    found = gpu.training("cpu", True)
    assert {precision: len(side["leaf accuracy"]) for precision, side in found.items()} == {"fp32": 3}

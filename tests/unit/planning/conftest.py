"""Throughputs and prices in round numbers, so that plans can be reckoned by hand, and a small cascade."""

from collections.abc import Callable
from typing import Any

import pytest

from prodcat.planning.prices import Prices
from prodcat.planning.stations import Cascade, Station
from prodcat.planning.throughputs import STAGES, Throughputs

ASSUMED = {"measured": False, "why": "a test"}
MEASURED = {"measured": True, "by": "a test, today"}
FIGURES = {
    "gate_share": 0.1,
    "job_start_seconds": 36,
    "text_actor_mb": 500,
    "gpu_actor_mb": 4000,
    "driver_bytes_a_product": 300,
    "product_bytes": 1000,
    "image_bytes": 9000,
    "text_features_bytes": 2000,
    "image_features_bytes": 4000,
    "answer_bytes": 500,
}


@pytest.fixture
def throughputs() -> Throughputs:
    """10 rows a second and core everywhere; stage two 100 a second and GPU, and on no CPU."""
    stages: dict[str, Any] = {stage: {"cpu": {"rows_per_second": 10, **MEASURED}} for stage in STAGES}
    stages["stage_two"] = {"gpu": {"rows_per_second": 100, **ASSUMED}}
    return Throughputs.model_validate({"stages": stages, "figures": {name: {"value": value, **MEASURED} for name, value in FIGURES.items()}})


@pytest.fixture
def prices() -> Prices:
    """A CPU node of 10 cores for 1 an hour, a GPU node for 2; a tenth of an hour to start, as long idle; the head for 0.5."""
    node = {"memory_gb": 32, "usable_share": 1.0, "start_seconds": 360}
    return Prices.model_validate(
        {
            "currency": "EUR",
            "date": "today",
            "why": "a test",
            "nodes": {
                "cpu": {**node, "instance": "cores", "unit": "cpu", "units": 10, "on_demand": 1, "spot": 0.5, "most": 3},
                "gpu": {**node, "instance": "card", "unit": "gpu", "units": 1, "on_demand": 2, "spot": 1, "most": 8},
            },
            "head": {"instance": "head", "memory_gb": 32, "on_demand": 0.5},
            "idle_seconds": 360,
            "storage_gb_month": 0.02,
        }
    )


MakeCascade = Callable[..., Cascade]


@pytest.fixture
def small_cascade() -> MakeCascade:
    """A cascade of 100 products a second and text replica, 10 of stage two; what is given replaces fields of the text station, or of `multimodal`."""

    def make(multimodal: dict[str, Any] | None = None, **text: Any) -> Cascade:
        shared = {"base_seconds": 0.01, "max_ongoing": 16, "max_queued": 32, "target_ongoing": 8, "start_s": 4, "node_start_s": 60, "node_price": 1.0}
        one = {**shared, "rate": 100, "queued_count": False, "max_replicas": 8, "per_node": 4, "min_nodes": 1}
        two = {**shared, "rate": 10, "queued_count": True, "max_replicas": 4, "per_node": 1}
        return Cascade(text=Station.model_validate({**one, **text}), multimodal=Station.model_validate({**two, **(multimodal or {})}))

    return make

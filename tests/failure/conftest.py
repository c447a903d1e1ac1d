"""A cluster of several Ray nodes on this machine, as cluster.yaml means it: a head that runs nothing, nodes with CPUs, nodes with a (logical) GPU.

The jobs of these tests are processes of their own that join it, as submitted jobs do; so the cluster that other folders share is left alone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from prodcat.catalog.store import Catalog

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = {"_system_config": {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}}


class Nodes:
    """The cluster, and what is done to it.

    Attributes:
        address: for RAY_ADDRESS.
    """

    def __init__(self) -> None:
        # Lost nodes are to be noticed in seconds, not in the half minute that suits a network.
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 150_000_000, **SETTINGS})
        self.address: str = self._cluster.address

    def add(self, *, cpus: float = 2, gpus: float = 0) -> Any:
        node = self._cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=200_000_000)
        self._cluster.wait_for_nodes()
        return node

    def kill(self, node: Any) -> None:
        """As a machine that is gone: its processes with SIGKILL."""
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    try:
        yield made
    finally:
        made.stop()


class Job:
    """`python -m ray_jobs.NAME ...` as a process, on a cluster or on a Ray of its own."""

    def __init__(self, name: str, *arguments: object, log: Path, address: str | None = None) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        environment |= {"PYTHONPATH": str(REPOSITORY)} | ({"RAY_ADDRESS": address} if address else {})
        self._log = log
        command = [sys.executable, "-m", f"ray_jobs.{name}", *(str(each) for each in arguments)]
        with log.open("w") as stream, log.with_suffix(".err").open("w") as errors:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=stream, stderr=errors, start_new_session=True)

    @property
    def told(self) -> str:
        """Its progress so far."""
        return self._log.with_suffix(".err").read_text()

    def until(self, reached: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, f"it ended first: {self.told}"
            assert time.monotonic() < end, f"not reached: {self.told}"
            time.sleep(0.02)

    def result(self, seconds: float = 240) -> dict[str, Any]:
        """Its last line."""
        assert self.process.wait(seconds) == 0, self.told
        found: dict[str, Any] = json.loads(self._log.read_text().splitlines()[-1])
        return found


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    started: list[Job] = []

    def start(name: str, *arguments: object, address: str | None = None) -> Job:
        started.append(Job(name, *arguments, log=tmp_path / f"{name}-{len(started)}.log", address=address))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait(30)


@pytest.fixture(scope="session")
def many(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of 4,000 products: those of the demo run again and again under other names, some of them without their image."""
    return repeated(Catalog.open(demo_run / "catalog"), tmp_path_factory.mktemp("many") / "catalog", 4000)


def repeated(catalog: Catalog, out: Path, products: int, rows_a_file: int = 500) -> Path:
    """A catalog folder of so many products."""
    rows = catalog.products()
    (out / "products").mkdir(parents=True)
    names = []
    for start in range(0, products, rows_a_file):
        numbers = range(start, min(products, start + rows_a_file))
        part = rows.take(pa.array([number % rows.num_rows for number in numbers]))
        for column, values in {
            "product_id": [str(number) for number in numbers],
            "key": [f"{platform}/{number}" for platform, number in zip(part["platform"].to_pylist(), numbers, strict=True)],
            "digest": [f"{digest[:40]}{number:024d}" for digest, number in zip(part["digest"].to_pylist(), numbers, strict=True)],
            "image": [None if number % 3 else image for image, number in zip(part["image"].to_pylist(), numbers, strict=True)],
        }.items():
            place = part.schema.get_field_index(column)
            part = part.set_column(place, part.schema.field(place), pa.array(values, part.schema.field(place).type))
        names.append(f"products/part-{start:09d}.parquet")
        pq.write_table(part, out / names[-1])
    manifest = json.loads((catalog.path / "catalog.json").read_text()) | {"files": names}
    (out / "catalog.json").write_text(json.dumps(manifest))
    return out

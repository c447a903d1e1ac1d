"""The cluster, the jobs and the catalog of the tests in this folder."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prodcat.catalog.store import Catalog

REPOSITORY = Path(__file__).resolve().parents[2]
# Lost nodes are to be noticed in seconds, not in the half minute that suits a network.
SETTINGS = {"_system_config": {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}}


def head() -> Any:
    """A cluster of a head alone, on which nothing runs."""
    # Not above: Ray reads its environment when it is imported, and this file may be loaded before tests/conftest.py has set it.
    from ray.cluster_utils import Cluster

    return Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 150_000_000, **SETTINGS})


class Nodes:
    """A test's own nodes of the cluster, and what is done to them.

    Attributes:
        address: for RAY_ADDRESS.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster, self._own = cluster, []
        self.address: str = cluster.address

    def add(self, *, cpus: float = 2, gpus: float = 0) -> Any:
        self._own.append(self._cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=200_000_000))
        self._cluster.wait_for_nodes()
        return self._own[-1]

    def kill(self, node: Any) -> None:
        """As a machine that is gone: its processes with SIGKILL."""
        self._own.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        for node in list(self._own):
            self.kill(node)


def environment(address: str | None) -> dict[str, str]:
    """Of a process that joins this cluster, or starts a Ray of its own."""
    inherited = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return inherited | {"PYTHONPATH": str(REPOSITORY)} | ({"RAY_ADDRESS": address} if address else {})


class Job:
    """`python -m ray_jobs.NAME ...` as a process, on a cluster or on a Ray of its own."""

    def __init__(self, name: str, *arguments: object, log: Path, address: str | None = None) -> None:
        self._log = log
        command = [sys.executable, "-m", f"ray_jobs.{name}", *(str(each) for each in arguments)]
        with log.open("w") as stream, log.with_suffix(".err").open("w") as errors:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment(address), stdout=stream, stderr=errors, start_new_session=True)

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

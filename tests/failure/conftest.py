"""A cluster of several Ray nodes on this machine, as cluster.yaml means it: a head that runs nothing, nodes with CPUs, nodes with a (logical) GPU.

The jobs of these tests are processes of their own that join it, as submitted jobs do; so the cluster that other folders share is left alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prodcat.catalog.store import Catalog
from tests.failure.nodes import Job, Nodes, head, repeated


@pytest.fixture(scope="session")
def cluster_of_nodes() -> Iterator[Any]:
    made = head()
    yield made
    made.shutdown()


@pytest.fixture
def nodes(cluster_of_nodes: Any) -> Iterator[Nodes]:
    made = Nodes(cluster_of_nodes)
    yield made
    made.stop()


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
    """A catalog of 3,000 products: those of the demo run again and again under other names, some of them without their image."""
    return repeated(Catalog.open(demo_run / "catalog"), tmp_path_factory.mktemp("many") / "catalog", 3000)

"""Tests in this folder use the cluster `ray_cluster` of tests/conftest.py, which all folders share. None starts another or shuts it down."""

import pytest


@pytest.fixture(autouse=True)
def _on_the_shared_cluster(ray_cluster: None) -> None:
    """So that no test here starts a cluster of its own by forgetting to ask for the shared one."""

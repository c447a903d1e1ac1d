"""A folder of proposals made by hand over a catalog of the demo's feeds."""

from pathlib import Path

import pytest

from prodcat.catalog.store import Catalog

from .proposed import write_catalog, write_proposed


@pytest.fixture(scope="session")
def catalog(demo_feeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(demo_feeds, tmp_path_factory.mktemp("reviewed") / "catalog")


@pytest.fixture
def folder(catalog: Catalog, tmp_path: Path) -> Path:
    """Nothing is decided."""
    write_proposed(tmp_path, catalog)
    return tmp_path

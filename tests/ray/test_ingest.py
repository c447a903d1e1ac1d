"""Contract 5: the catalog that Ray makes is the catalog that one process makes."""

from pathlib import Path

import pytest

from prodcat.catalog import distributed
from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.store import Catalog
from prodcat.errors import FeedError


def test_the_distributed_catalog_equals_the_pure_one(demo_feeds: Path, tmp_path: Path) -> None:
    config = IngestConfig(chunk_rows=20)
    told: list[str] = []
    crosswalk = {("bazaar", "anything"): ("Footwear",)}
    one = ingest([str(demo_feeds)], tmp_path / "pure", config, crosswalk=crosswalk)
    many = distributed.ingest([str(demo_feeds)], tmp_path / "ray", config, crosswalk=crosswalk, on_progress=told.append)
    a, b = Catalog.open(tmp_path / "pure"), Catalog.open(tmp_path / "ray")
    assert a.products().equals(b.products())
    assert a.rejected().equals(b.rejected())
    assert a.splits().equals(b.splits())
    assert (a.digest, a.taxonomy) == (b.digest, b.taxonomy)
    assert [Path(file).name for file in a.product_files()] == [Path(file).name for file in b.product_files()]
    assert (one.products, one.rejected, one.image_problems) == (many.products, many.rejected, many.image_problems)
    assert told


def test_an_error_in_a_task_arrives_as_itself(tmp_path: Path) -> None:
    """With the columns given by the mapping, the first to open the file is a reader's task."""
    feed = tmp_path / "shop.csv"
    feed.write_text("x\n")
    with pytest.raises(FeedError, match=r"shop\.csv: unknown encoding 'klingon'") as caught:
        distributed.ingest([str(feed)], tmp_path / "c", IngestConfig(), FeedMapping(header=("title",), encoding="klingon"))
    assert type(caught.value) is FeedError
    assert not (tmp_path / "c").exists()

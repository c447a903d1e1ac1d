"""Fetching and delivering against S3 itself: what tests/unit/base/test_remote.py holds of a folder in a store's place."""

from pathlib import Path

import pytest

from prodcat.catalog.store import Catalog
from prodcat.errors import BundleError, FeedError, StoreError
from prodcat.location import Location
from prodcat.prediction.distributed import BundlePlace
from prodcat.remote import INDEX, deliver, fetch


def texts(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_and_back(bucket: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "run.json").write_text("{}")
    (mine / "deep" / "a b%20.bin").write_bytes(b"x" * 9_000_000)
    (mine / "deep" / ".hidden").write_text("too")
    assert deliver(mine, f"{bucket}/out") == 3
    copy = fetch(f"{bucket}/out", tmp_path / "keep")
    assert texts(copy) == texts(mine)
    assert deliver(mine, f"{bucket}/out") == 0
    (mine / "deep" / ".hidden").unlink()
    (mine / "run.json").write_text('{"next": 1}')
    assert deliver(mine, f"{bucket}/out") == 1
    assert texts(fetch(f"{bucket}/out", tmp_path / "keep")) == texts(mine)
    assert (copy / "run.json").read_text() == "{}"


def test_a_delivery_that_was_cut_off_goes_on(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("1", "2", "3", "manifest.json"):
        (mine / name).write_text(name)
    real = Location.write_bytes

    def fails(self: Location, data: bytes) -> None:
        if self.name == "2":
            raise StoreError("away")
        real(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(Location, "write_bytes", fails)
        with pytest.raises(StoreError, match="away"):
            deliver(mine, f"{bucket}/out")
    assert "manifest.json" not in Location(f"{bucket}/out").files()
    deliver(mine, f"{bucket}/out")
    assert Location(f"{bucket}/out").files().keys() == {"1", "2", "3", "manifest.json", INDEX}


def test_a_catalog_is_read_where_it_lies(bucket: str, demo_run: Path) -> None:
    local = Catalog.open(demo_run / "catalog")
    deliver(demo_run / "catalog", f"{bucket}/catalog")
    there = Catalog.open(f"{bucket}/catalog")
    assert there.products() == local.products()
    assert there.splits() == local.splits()
    assert there.rejected() == local.rejected()
    assert there.taxonomy == local.taxonomy
    assert (there.digest, there.summary()) == (local.digest, local.summary())
    assert all(file.startswith(f"{bucket}/catalog/products/part-") for file in there.product_files())
    with pytest.raises(FeedError, match="lies in a store; name a copy on this machine"):
        print(there.path)
    Location(there.product_files()[0]).delete()
    with pytest.raises(FeedError, match="are missing; ingest the feeds again"):
        Catalog.open(f"{bucket}/catalog")
    with pytest.raises(FeedError, match=r"none: no readable catalog\.json"):
        Catalog.open(f"{bucket}/none")


def test_a_bundle_that_was_replaced_is_refused(bucket: str, demo_run: Path, tmp_path: Path) -> None:
    deliver(demo_run / "bundle", f"{bucket}/bundle")
    place = BundlePlace(f"{bucket}/bundle", str(tmp_path / "cache"))
    opened = place.open()
    assert opened.folder.is_relative_to(tmp_path / "cache")
    assert BundlePlace(place.source, place.cache, opened.version).open().version == opened.version
    with pytest.raises(BundleError, match=f"here it is version {opened.version}, and the run began with 0123; it was replaced meanwhile"):
        BundlePlace(place.source, place.cache, "0123").open()
    Location(f"{bucket}/bundle/stage_two/model.safetensors").write_bytes(b"changed")
    with pytest.raises(StoreError, match=r"stage_two/model\.safetensors is not the file that .* its manifest names"):
        BundlePlace(place.source, str(tmp_path / "another")).open()

"""The catalog's folder on disk: what ingestion wrote, as tables. Reads and publishes; decides nothing.

catalog.json            digest, counts, configuration; written last, so a folder without it is no catalog
taxonomy.json           the tree (none if no product is labelled and no tree was given)
history.json            how the tree came about (recategorization/versions.py); none for a tree of the first version
products/part-*.parquet PRODUCTS, in source order
rejected/part-*.parquet REJECTED
splits.parquet          SPLITS, oldest product first (not in the order of products: join by key)
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prodcat.contracts import PRODUCTS, REJECTED, SPLITS
from prodcat.errors import FeedError
from prodcat.location import Location
from prodcat.taxonomy import Taxonomy, format_path

FORMAT = 2
TAXONOMY, HISTORY = "taxonomy.json", "history.json"
_INCOMING = ".incoming"
_PARTS = ("products", "rejected", "splits.parquet", TAXONOMY, HISTORY)


class Catalog:
    """A catalog folder. Open it with `Catalog.open`."""

    def __init__(self, place: Location, manifest: dict[str, Any]) -> None:
        self.place = place
        self._manifest = manifest

    @classmethod
    def open(cls, path: str | Path) -> "Catalog":
        """Args: path: of the folder, or its URI; then the tables are read where they lie.

        Raises:
            FeedError: the folder is missing or is no catalog.
        """
        place = Location(str(path).rstrip("/") or str(path))
        if place.is_local:
            # Whole paths: the tasks that read its files have working folders of their own.
            place = Location(str(Path(place.path).absolute()))
            if not Path(place.path).is_dir():
                raise FeedError(f"{place.source}: no such catalog folder; make one with `prodcat ingest SOURCE --out {place.source}`")
        try:
            manifest = json.loads(place.child("catalog.json").read_bytes())
            if manifest["format"] != FORMAT:
                raise FeedError(f"{place.source}: catalog format {manifest['format']}, this version reads {FORMAT}; ingest the feeds again")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FeedError(
                f"{place.source}: no readable catalog.json ({error}); an ingestion was cut off, or this is no catalog: ingest again"
            ) from error
        # A store is asked once for all names.
        there = None if place.is_local else place.files()
        missing = [name for name in manifest["files"] if (name not in there if there is not None else not Path(place.path, name).is_file())]
        if missing:
            raise FeedError(f"{place.source}: the files {missing[:5]} are missing; ingest the feeds again")
        return cls(place, manifest)

    @property
    def path(self) -> Path:
        """The folder on this machine. Raises FeedError for a catalog in a store."""
        if not self.place.is_local:
            raise FeedError(f"{self.place.source}: lies in a store; name a copy on this machine")
        return Path(self.place.path)

    @property
    def digest(self) -> str:
        """SHA-256 over keys, content digests and labels: equal for equal content, whatever files it came from."""
        return str(self._manifest["digest"])

    @cached_property
    def taxonomy(self) -> Taxonomy | None:
        """The category tree; None if no product is labelled and none was given."""
        if TAXONOMY not in self._manifest["files"]:
            return None
        if self.place.is_local:
            return Taxonomy.load(self.path / TAXONOMY)
        file = self.place.child(TAXONOMY)
        try:
            return Taxonomy.from_json(file.read_bytes().decode(), file.source)
        except (OSError, UnicodeDecodeError) as error:
            raise FeedError(f"{file.source}: cannot be read ({error}); ingest the feeds again") from error

    @property
    def history(self) -> Path | None:
        """The file that says how the tree came about; None for a tree of the first version."""
        return self.path / HISTORY if HISTORY in self._manifest["files"] else None

    def summary(self) -> dict[str, Any]:
        """The IngestSummary's fields."""
        return dict(self._manifest["summary"])

    def config(self) -> dict[str, Any]:
        """The IngestConfig's fields."""
        return dict(self._manifest["config"])

    def product_files(self) -> list[str]:
        """Parquet files of PRODUCTS, in source order; URIs where the catalog lies in a store."""
        return [self.place.child(name).source for name in self._manifest["files"] if name.startswith("products/")]

    def products(self, columns: Sequence[str] | None = None) -> pa.Table:
        """PRODUCTS, or some of its columns, in source order."""
        return self._read(self.product_files(), PRODUCTS, columns)

    def has_image(self) -> pa.ChunkedArray:
        """bool, in source order: whether the product has a usable image."""
        # Validity without the bytes: Parquet keeps it per column chunk, Arrow reads the column; one file at a time bounds the memory.
        chunks = [pc.is_valid(self._read([file], PRODUCTS, ["image"])["image"]) for file in self.product_files()]
        return pa.chunked_array([chunk for column in chunks for chunk in column.chunks], pa.bool_())

    def splits(self) -> pa.Table:
        """SPLITS: one row a product, oldest product first; join by key."""
        return self._read([self.place.child("splits.parquet").source], SPLITS, None)

    def rejected_files(self) -> list[str]:
        """Parquet files of REJECTED, in source order."""
        return [self.place.child(name).source for name in self._manifest["files"] if name.startswith("rejected/")]

    def rejected(self) -> pa.Table:
        """REJECTED, in source order."""
        return self._read(self.rejected_files(), REJECTED, None)

    @staticmethod
    def _read(files: Sequence[str], schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
        wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        try:
            tables = [Location(file).read_table(wanted.names) for file in files]
        except (OSError, pa.ArrowException) as error:
            raise FeedError(f"a file of the catalog is damaged ({error}); ingest the feeds again") from error
        return pa.concat_tables([table.cast(wanted) for table in tables]) if tables else wanted.empty_table()


def earlier_splits(out: Path) -> list[tuple[str, str, str]]:
    """(key, group, split) of the catalog that lies in `out`, oldest first; empty if there is none.

    Raises:
        FeedError: `out` holds something that is no catalog; nothing is to be written there.
    """
    if out.exists() and not out.is_dir():
        raise FeedError(f"{out}: is a file; name a folder for the catalog")
    # An ingestion that was cut off while publishing leaves no catalog.json; its splits are still to be kept.
    for splits in (out / "splits.parquet", out / _INCOMING / "splits.parquet"):
        if splits.is_file():
            try:
                columns = pq.read_table(splits).to_pydict()
            except (OSError, pa.ArrowException) as error:
                raise FeedError(
                    f"{splits}: damaged ({error}); without it old products may change their split: restore it, or remove {out}"
                ) from error
            return list(zip(columns["key"], columns["group"], columns["split"], strict=True))
    foreign = [entry.name for entry in out.iterdir() if entry.name != _INCOMING] if out.is_dir() else []
    if foreign:
        raise FeedError(f"{out}: holds {sorted(foreign)[:5]} and is no catalog; choose a new or empty folder, so that nothing is overwritten")
    return []


def content_digest(index: pa.Table) -> str:
    """Catalog.digest. Args: index: columns key, digest and path of all products, in any order."""
    sha = hashlib.sha256()
    for row in index.select(["key", "digest", "path"]).sort_by("key").to_pylist():
        sha.update(f"{row['key']}\t{row['digest']}\t{format_path(row['path'] or ())}\n".encode())
    return sha.hexdigest()


def begin(out: Path) -> Path:
    """An empty folder inside `out` where the next catalog is put together; the present one stays readable meanwhile."""
    incoming = out / _INCOMING
    if incoming.exists():
        shutil.rmtree(incoming)
    (incoming / "products").mkdir(parents=True)
    (incoming / "rejected").mkdir()
    return incoming


def publish(out: Path, taxonomy: Taxonomy | None, splits: pa.Table, digest: str, summary: dict[str, Any], config: dict[str, Any]) -> None:
    """What `begin` gave becomes the catalog in `out`. The history that lies in `out` stays where the tree stays what it was."""
    incoming = out / _INCOMING
    pq.write_table(splits, incoming / "splits.parquet")
    if taxonomy is not None:
        taxonomy.save(incoming / TAXONOMY)
        if (out / HISTORY).is_file() and (out / TAXONOMY).is_file() and Taxonomy.load(out / TAXONOMY) == taxonomy:
            shutil.copyfile(out / HISTORY, incoming / HISTORY)
    files = sorted(str(file.relative_to(incoming)) for file in incoming.rglob("*") if file.is_file())
    manifest = {"format": FORMAT, "digest": digest, "files": files, "summary": summary, "config": config}
    (incoming / "catalog.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    # The old manifest goes first and the new one comes last: at no moment does a manifest name the other's files.
    (out / "catalog.json").unlink(missing_ok=True)
    for name in _PARTS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)
        if (incoming / name).exists():
            (incoming / name).rename(out / name)
    (incoming / "catalog.json").rename(out / "catalog.json")
    incoming.rmdir()


def abandon(out: Path) -> None:
    """The run failed: what `begin` made is removed, the catalog in `out` stays as it was."""
    shutil.rmtree(out / _INCOMING, ignore_errors=True)
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()

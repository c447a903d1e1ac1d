"""Small pictures of a catalog's products, one at a time. Knows where each product's image lies without having read any image.

Bounded in memory: the thumbnails, and the images of the row groups that were read last, are kept up to a number of bytes each; a row group that is
larger than that is read through piece by piece.
"""

import bisect
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from prodcat.catalog.store import Catalog
from prodcat.errors import FeedError, ImageError
from prodcat.images import ImageLimits, decode

SIZES = (48, 640)
_THUMBNAIL_BYTES = 48_000_000
_GROUP_BYTES = 128_000_000
_BATCH_ROWS = 16

V = TypeVar("V")


class Kept(Generic[V]):
    """What was used last, up to a number of bytes. Not for several threads at once."""

    def __init__(self, most: int, size: Callable[[V], int]) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Any, V] = OrderedDict()
        self.bytes = 0

    def __contains__(self, key: Any) -> bool:
        return key in self._values

    def get(self, key: Any) -> V | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Any, value: V) -> None:
        if key in self._values:
            self.bytes -= self._size(self._values.pop(key))
        self._values[key] = value
        self.bytes += self._size(value)
        while self.bytes > self._most:
            _, gone = self._values.popitem(last=False)
            self.bytes -= self._size(gone)


@dataclass(frozen=True)
class Picture:
    """An encoded thumbnail and its ETag."""

    data: bytes
    tag: str


class Pictures:
    """Thumbnails of the products of catalogs.

    Args:
        keys: of all products, in source order, as `catalog.products(["key"])` has them, one catalog after the other. Of a product of several the
            last counts.
    """

    def __init__(self, catalogs: Sequence[Catalog], keys: Sequence[str]) -> None:
        self._row = {key: row for row, key in enumerate(keys)}
        self._groups: list[tuple[str, int]] = []
        starts, row = [], 0
        for file in [file for catalog in catalogs for file in catalog.product_files()]:
            with _reader(file) as reader:
                for group in range(reader.num_row_groups):
                    starts.append(row)
                    self._groups.append((file, group))
                    row += reader.metadata.row_group(group).num_rows
        if row != len(keys):
            named = ", ".join(str(catalog.path) for catalog in catalogs)
            raise FeedError(f"{named}: {row} products, {len(keys)} keys were given; it is being written: start again")
        self._starts = starts
        self._thumbnails: Kept[Picture | None] = Kept(_THUMBNAIL_BYTES, lambda picture: 200 + (len(picture.data) if picture else 0))
        self._images: Kept[list[bytes | None]] = Kept(_GROUP_BYTES, lambda images: sum(len(image) for image in images if image) + 1)
        self._lock, self._reading = threading.Lock(), threading.Lock()

    def __contains__(self, key: str) -> bool:
        return key in self._row

    def row(self, key: str) -> int | None:
        """Of a product in source order; None for one that is not in the catalog."""
        return self._row.get(key)

    def thumbnail(self, key: str, size: int) -> Picture | None:
        """A JPEG of at most `size` pixels a side; None for a product whose image is missing or cannot be read.

        Raises:
            KeyError: the product is not in the catalog.
            FeedError: a file of the catalog is damaged.
        """
        place = (self._row[key], size)
        with self._lock:
            if place in self._thumbnails:
                return self._thumbnails.get(place)
        image = self._image(place[0])
        picture = _small(image, size) if image else None
        with self._lock:
            self._thumbnails.put(place, picture)
        return picture

    def _image(self, row: int) -> bytes | None:
        number = bisect.bisect_right(self._starts, row) - 1
        offset = row - self._starts[number]
        # One row group at a time, whoever asks: that bounds the memory.
        with self._reading:
            found = self._images.get(number)
            if found is not None:
                return found[offset]
            file, group = self._groups[number]
            try:
                with _reader(file) as reader:
                    column = reader.metadata.row_group(group).column(reader.schema_arrow.get_field_index("image"))
                    if column.total_uncompressed_size > _GROUP_BYTES:
                        return _one(reader, group, offset)
                    images = reader.read_row_group(group, columns=["image"])["image"].to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise FeedError(f"{file}: is damaged ({error}); ingest the feeds again") from error
            self._images.put(number, images)
            return images[offset]


def _reader(file: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise FeedError(f"{file}: is damaged ({error}); ingest the feeds again") from error


def _one(reader: pq.ParquetFile, group: int, offset: int) -> bytes | None:
    for batch in reader.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=["image"]):
        if offset < batch.num_rows:
            return batch.column(0)[offset].as_py()
        offset -= batch.num_rows
    raise AssertionError("the row lies in its row group")


def _small(data: bytes, size: int) -> Picture | None:
    try:
        image = decode(data, ImageLimits(), at_least=size)
    except ImageError:
        return None
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=82)
    encoded = buffer.getvalue()
    return Picture(encoded, f'"{hashlib.sha256(encoded).hexdigest()[:24]}"')

"""Parquet feeds: parts are runs of row groups. A row group that cannot be decoded costs its own rows and no others."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prodcat.catalog.feeds.reader import NO_DEFAULTS, FeedPart, RawRow, ReadOptions
from prodcat.location import Location

# Rows that become Python objects at a time: enough to hide pyarrow's cost per batch, few enough for rows that carry photos.
_BATCH_ROWS = 256
# Parts of about this many rows: the unit that is read side by side.
_PART_ROWS = 4096


class ParquetReader:
    name = "parquet"
    suffixes: tuple[str, ...] = (".parquet", ".pq")
    defaults: Mapping[str, Any] = NO_DEFAULTS

    def recognises(self, head: str) -> bool:
        return head.startswith("PAR1")

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        with feed.open_file() as file:
            return list(pq.ParquetFile(file).schema_arrow.names)

    def parts(self, feed: Location) -> list[FeedPart]:
        with feed.open_file() as file:
            metadata = pq.ParquetFile(file).metadata
        parts: list[FeedPart] = []
        start, first_row, rows = 0, 1, 0
        for group in range(metadata.num_row_groups):
            rows += metadata.row_group(group).num_rows
            if rows >= _PART_ROWS or group == metadata.num_row_groups - 1:
                parts.append(FeedPart(first_row, (start, group + 1)))
                start, first_row, rows = group + 1, first_row + rows, 0
        return parts

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        with feed.open_file() as file:
            # Checksums are verified where the writer left them; without them a flipped byte in an image is found when the image is decoded.
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            start, stop = part.row_groups if part.row_groups else (0, parquet.num_row_groups)
            row = part.first_row
            for group in range(start, stop):
                end = row + parquet.metadata.row_group(group).num_rows
                try:
                    for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
                        for values in batch.to_pylist():
                            yield RawRow(row, values)
                            row += 1
                except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
                    detail = f"row group {group} of the Parquet file is damaged ({str(error).splitlines()[0]}); write the file again"
                    for lost in range(row, end):
                        yield RawRow(lost, problem=("parquet_damaged", detail))
                row = end

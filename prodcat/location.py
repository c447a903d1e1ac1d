"""Where something lies: a local path or any URI that pyarrow's file systems know (s3://, gs://, hdfs://, file://). Reads and writes files whole;
knows nothing of what is in them but that tables are Parquet.

What is written appears whole or not at all: locally under its name only when it is complete, in an object store because that is how those work.
"""

import os
import posixpath
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from prodcat.errors import FeedError

_URI = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Location:
    """A file or folder, by the name its user gave it.

    Args:
        source: local path or URI, as given; what tables and messages show.
        start: folder that a relative path starts from; kept, as a worker on a cluster may run in another folder than the one who named the path.
    """

    source: str
    start: str = field(default_factory=os.getcwd, compare=False, repr=False)

    @cached_property
    def _resolved(self) -> tuple[fs.FileSystem, str]:
        try:
            if _URI.match(self.source):
                return fs.FileSystem.from_uri(self.source)
            return fs.LocalFileSystem(), posixpath.normpath(posixpath.join(self.start, self.source))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise FeedError(f"{self.source}: not a path or URI that can be read: {error}") from error

    def __reduce__(self) -> tuple[type["Location"], tuple[str, str]]:
        # Only names travel to workers: file systems are opened where they are used.
        return Location, (self.source, self.start)

    @property
    def filesystem(self) -> fs.FileSystem:
        return self._resolved[0]

    @property
    def path(self) -> str:
        return self._resolved[1]

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def compressed(self) -> bool:
        return self.name.lower().endswith(".gz")

    @property
    def suffix(self) -> str:
        """Lower case, without a closing ".gz": "shop.csv.gz" -> ".csv"."""
        return PurePosixPath(self._plain_name).suffix.lower()

    @property
    def stem(self) -> str:
        """ "feeds/shop.csv.gz" -> "shop"."""
        return PurePosixPath(self._plain_name).stem

    @property
    def _plain_name(self) -> str:
        return self.name[: -len(".gz")] if self.compressed else self.name

    @property
    def folder(self) -> "Location":
        place, query = self._split
        head, _, _ = place.rpartition("/")
        return Location((head or ("/" if place.startswith("/") else ".")) + query, self.start)

    def child(self, relative: str) -> "Location":
        place, query = self._split
        return Location(posixpath.join(place, relative) + query, self.start)

    @property
    def _split(self) -> tuple[str, str]:
        """What names the place, and the options of a URI (?region=...)."""
        if not _URI.match(self.source):
            return self.source, ""
        place, mark, query = self.source.partition("?")
        return place, mark + query

    def info(self) -> fs.FileInfo:
        try:
            return self.filesystem.get_file_info(self.path)
        except (OSError, pa.ArrowException) as error:
            raise FeedError(f"{self.source}: cannot be reached: {error}") from error

    def files_below(self) -> list["Location"]:
        """Every file in this folder and its folders, sorted; names that start with "." or "_" are left out, as other tools do."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=True))
        relative = sorted(posixpath.relpath(entry.path, self.path) for entry in found if entry.type == fs.FileType.File)
        return [self.child(name) for name in relative if not any(part.startswith((".", "_")) for part in name.split("/"))]

    def open_stream(self) -> pa.NativeFile:
        """Bytes from the start, unpacked if the name ends in .gz."""
        return self.filesystem.open_input_stream(self.path, compression="gzip" if self.compressed else None)

    def open_file(self) -> pa.NativeFile:
        """Random access, as it lies on disk."""
        return self.filesystem.open_input_file(self.path)

    def is_file(self) -> bool:
        return bool(self.info().is_file)

    def children(self) -> list["Location"]:
        """What lies right in this folder, sorted by name, without names that start with "."; nothing where there is no such folder."""
        return [self.child(entry.base_name) for entry in self.infos()]

    def infos(self) -> list[fs.FileInfo]:
        """Of the same."""
        try:
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        except (OSError, pa.ArrowException) as error:
            raise FeedError(f"{self.source}: cannot be listed: {error}") from error
        return sorted((entry for entry in found if not entry.base_name.startswith(".")), key=lambda entry: entry.base_name)

    def read_bytes(self) -> bytes:
        """Raises OSError."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def read_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Raises OSError or ArrowException."""
        return pq.read_table(self.path, columns=None if columns is None else list(columns), filesystem=self.filesystem, partitioning=None)

    def write_bytes(self, data: bytes) -> None:
        if self.is_local:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(self.path).with_name(f".{self.name}.{uuid.uuid4().hex}")
            temporary.write_bytes(data)
            temporary.replace(self.path)
        else:
            with self.filesystem.open_output_stream(self.path) as stream:
                stream.write(data)

    def delete(self) -> None:
        """A file; none there is fine."""
        try:
            self.filesystem.delete_file(self.path)
        except FileNotFoundError:
            return

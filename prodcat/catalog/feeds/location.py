"""Where a feed lies: a local path or any URI that pyarrow's file systems read (s3://, gs://, hdfs://, file://). Knows nothing of formats."""

import os
import posixpath
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

import pyarrow as pa
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
        head, _, _ = self.source.rpartition("/")
        return Location(head or ("/" if self.source.startswith("/") else "."), self.start)

    def child(self, relative: str) -> "Location":
        return Location(posixpath.join(self.source, relative), self.start)

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

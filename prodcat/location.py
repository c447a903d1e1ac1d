"""Where something lies: a local path or any URI that pyarrow's file systems know (s3://, gs://, hdfs://, file://). Reads and writes files whole;
knows nothing of what is in them but that tables are Parquet.

What is written appears whole or not at all: locally under its name only when it is complete, in an object store because that is how those work.
"""

import contextlib
import os
import posixpath
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from prodcat.errors import FeedError, StoreError

_URI = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_GOOGLE = re.compile(r"^gc?s://", re.IGNORECASE)
# Left to itself, Google's client tries for a quarter of an hour to reach a store that does not answer.
_GOOGLE_SECONDS = "retry_limit_seconds"
# What a store's answer says, and what is to be done then; the first that fits.
_REMEDIES = (
    (
        ("ACCESS_DENIED", "PERMISSION_DENIED", "FORBIDDEN", "UNAUTHENTICATED", "INVALID_ACCESS_KEY", "SIGNATURE", "HTTP status 403"),
        "access is denied",
    ),
    (("NO_SUCH_BUCKET", "bucket does not exist"), "there is no such bucket; make it, or mend the name"),
    (("NETWORK_CONNECTION", "UNAVAILABLE", "connect", "timed out", "Timeout", "resolve"), "the store does not answer"),
)
_GENERAL = (
    "credentials come from the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS) or the instance's role, another endpoint from "
    "AWS_ENDPOINT_URL"
)


def is_uri(source: str) -> bool:
    """Whether a name is a URI and no path."""
    return bool(_URI.match(source))


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
            if _GOOGLE.match(self.source) and _GOOGLE_SECONDS not in self.source:
                return fs.FileSystem.from_uri(f"{self.source}{'&' if '?' in self.source else '?'}{_GOOGLE_SECONDS}=20")
            if is_uri(self.source):
                return fs.FileSystem.from_uri(self.source)
            return fs.LocalFileSystem(), posixpath.normpath(posixpath.join(self.start, self.source))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StoreError(f"{self.source}: not a path or URI that can be read: {error}; known are s3://, gs://, hdfs:// and file://") from error

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

    def absolute(self) -> "Location":
        """By a whole path, of a local one; what lies in a store has no other name."""
        return Location(self.path) if self.is_local else self

    def child(self, relative: str) -> "Location":
        place, query = self._split
        # What a URI would take for an end or an escape of its own.
        return Location(posixpath.join(place, quote(relative) if is_uri(place) else relative) + query, self.start)

    @property
    def _split(self) -> tuple[str, str]:
        """What names the place, and the options of a URI (?region=...)."""
        if not is_uri(self.source):
            return self.source, ""
        place, mark, query = self.source.partition("?")
        return place, mark + query

    @contextlib.contextmanager
    def answering(self, doing: str) -> Iterator[None]:
        """What a store answers while something is done there, as an error that says what to do. Of a local file system, and of what is not there, the
        error stays what it is.

        Args:
            doing: "read".

        Raises:
            StoreError: instead of OSError.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            told = str(error)
            remedy = next((remedy for marks, remedy in _REMEDIES if any(mark in told for mark in marks)), None)
            # A damaged Parquet file is an OSError too.
            if self.is_local or (doing == "read" and remedy is None):
                raise
            remedy = remedy or "the store refuses"
            raise StoreError(f"{self.source}: cannot be {doing}, {remedy}; {_GENERAL} ({' '.join(told.split())[:300]})") from error

    def info(self) -> fs.FileInfo:
        with self.answering("reached"):
            try:
                return self.filesystem.get_file_info(self.path)
            except OSError as error:
                if not self.is_local:
                    raise
                raise FeedError(f"{self.source}: cannot be reached: {error}") from error

    def files(self) -> dict[str, fs.FileInfo]:
        """Every file in this folder and its folders, by its path below it, whatever it is called; none where there is no such folder.

        Names are as the store has them: one that leads out of the folder is still in there.
        """
        with self.answering("listed"):
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=True, allow_not_found=True))
        start = self.path.rstrip("/") + "/"
        return {entry.path.removeprefix(start): entry for entry in found if entry.type == fs.FileType.File}

    def files_below(self) -> list["Location"]:
        """Every file in this folder and its folders, sorted; names that start with "." or "_" are left out, as other tools do."""
        with self.answering("listed"):
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
        with self.answering("listed"):
            try:
                found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
            except OSError as error:
                if not self.is_local:
                    raise
                raise FeedError(f"{self.source}: cannot be listed: {error}") from error
        return sorted((entry for entry in found if not entry.base_name.startswith(".")), key=lambda entry: entry.base_name)

    def read_bytes(self) -> bytes:
        """Raises OSError; StoreError where a store refuses."""
        with self.answering("read"), self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def read_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Raises OSError or ArrowException; StoreError where a store refuses."""
        with self.answering("read"):
            return pq.read_table(self.path, columns=None if columns is None else list(columns), filesystem=self.filesystem, partitioning=None)

    def write_bytes(self, data: bytes) -> None:
        if self.is_local:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(self.path).with_name(f".{self.name}.{uuid.uuid4().hex}")
            temporary.write_bytes(data)
            temporary.replace(self.path)
        else:
            with self.answering("written"), self.filesystem.open_output_stream(self.path) as stream:
                stream.write(data)

    def delete(self) -> None:
        """A file; none there is fine."""
        try:
            with self.answering("removed"):
                self.filesystem.delete_file(self.path)
        except FileNotFoundError:
            return

"""The audit trail of a review: one JSON line a decision, appended and never changed. Knows no proposal: what a decision may say is decisions.py's.

Each line holds the SHA-256 of the line before it, and a file beside the trail holds the number and the SHA-256 of the last one: a line that was
edited or taken out is noticed when the trail is read, and named by its number. This is against accidents and quiet edits; whoever may write the
folder can make a whole new trail.

A line counts once its end is on disk. What a crash left of a line decided nothing: it is named when the trail is read, and `repair` puts it aside.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from prodcat.config import Config
from prodcat.errors import ReviewError

Action = Literal["accept", "reject", "reopen", "rename", "move", "note"]


class Decision(Config):
    """What somebody decides on a proposal.

    Args:
        part: index of a part of the proposal; for a move the one that the products come from, null for those that were taken out.
        to: the part that the products go to; null: they are taken out, and keep the label that they have.
    """

    by: str = Field(min_length=1, max_length=200, description="who")
    proposal: str = Field(min_length=1, description="id")
    action: Action
    part: int | None = Field(None, ge=0)
    name: str | None = Field(None, description="of a rename")
    products: tuple[str, ...] = Field((), description="keys, of a move")
    to: int | None = Field(None, ge=0)
    note: str | None = Field(None, max_length=10_000)


class Entry(Decision):
    """One line of the trail."""

    n: int = Field(ge=1, description="running number")
    at: str = Field(description="when, ISO 8601 with its offset")
    proposed: str = Field(description="SHA-256 of the change as it was proposed when this was decided")
    previous: str | None = Field(description="SHA-256 of the line before, without its end; null in the first")


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


Check = Callable[[Sequence[Entry]], None]
"""Called with all entries before one is added; raises ReviewError to refuse it."""


class Trail:
    """A trail's file, which need not exist yet. Several processes and threads may append to it and read it at once."""

    def __init__(self, file: Path, clock: Callable[[], str] = now) -> None:
        self.file = file
        self._head = file.with_name(file.name + ".head")
        self._clock = clock
        self._thread = threading.Lock()
        self._entries: list[Entry] = []
        self._last: str | None = None
        self._read = 0

    def read(self) -> list[Entry]:
        """All entries; what was read before is not read again.

        Raises:
            ReviewError: a line was changed, taken out or cut off; names it, and what to do.
        """
        if not self.file.is_file():
            if self._entries or self._head.is_file():
                raise ReviewError(f"{self.file}: is gone, and decisions were in it; restore it")
            return []
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as stream:
            self._take(stream)
            return list(self._entries)

    def append(self, decision: Decision, *, proposed: str, check: Check = lambda _: None) -> Entry:
        """Add an entry, on disk when this returns.

        Args:
            proposed: SHA-256 of the change that is decided on.
            check: sees the entries as they are when this one is added: nobody adds another in between.

        Raises:
            ReviewError: as `read` and `check`, or the file cannot be written.
        """
        with self._locked(os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as stream:
            self._take(stream)
            check(list(self._entries))
            made = {
                "n": len(self._entries) + 1,
                "at": self._clock(),
                **decision.model_dump(mode="json"),
                "proposed": proposed,
                "previous": self._last,
            }
            entry = Entry.model_validate(made)
            line = json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
            try:
                # One write: whoever looks without the lock sees the line or none.
                if os.write(stream, line + b"\n") != len(line) + 1:
                    raise ReviewError(f"{self.file}: the disk is full; make room, then run `prodcat review` on the folder again")
                os.fsync(stream)
            except OSError as error:
                raise ReviewError(f"{self.file}: cannot be written: {error.strerror or error}") from error
            self._accept(entry, line)
            self._save_head()
            return entry

    def repair(self) -> str | None:
        """Put what a crash left of a last line aside, into a file of its own; what was done, for a person. None: nothing was to be done."""
        if not self.file.is_file():
            return None
        with self._locked(os.O_RDWR, fcntl.LOCK_EX) as stream:
            data = _from(stream, 0)
            whole = data.rfind(b"\n") + 1
            if whole == len(data):
                return None
            number = data.count(b"\n") + 1
            aside = self.file.with_name(f"{self.file.name}.cut-{number}")
            aside.write_bytes(data[whole:])
            os.ftruncate(stream, whole)
            os.fsync(stream)
        return f"{self.file}, line {number}: a crash had cut it off, and it decided nothing; what there was of it is now in {aside.name}"

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        with self._thread:
            try:
                stream = os.open(self.file, flags, 0o644)
            except OSError as error:
                raise ReviewError(f"{self.file}: cannot be opened: {error.strerror or error}") from error
            try:
                fcntl.flock(stream, lock)
                yield stream
            finally:
                os.close(stream)

    def _take(self, stream: int) -> None:
        """Read on from where the last reading ended."""
        size = os.fstat(stream).st_size
        if size < self._read:
            raise ReviewError(f"{self.file}: is shorter than it was, so lines were taken out; restore it from a copy")
        lines = _from(stream, self._read).split(b"\n")
        known, digest = self._known()
        for line in lines[:-1]:
            entry = self._parsed(line)
            if entry.n == known and digest != hashlib.sha256(line).hexdigest():
                raise ReviewError(f"{self.file}, line {known}: was changed after it was written, as {self._head.name} says; restore it from a copy")
            self._accept(entry, line)
        if lines[-1]:
            number = len(self._entries) + 1
            raise ReviewError(
                f"{self.file}, line {number}: is cut off, a crash while it was written; it decided nothing: `prodcat review` puts it aside"
            )
        if known > len(self._entries):
            missing = len(self._entries) + 1
            raise ReviewError(f"{self.file}, line {missing}: was taken out, {self._head.name} knows {known} lines; restore it from a copy")
        # One line behind is what a crash between the two writes leaves.
        if known < len(self._entries) - 1:
            raise ReviewError(
                f"{self._head}: knows {known} of {len(self._entries)} lines of the trail; the two are of different copies: restore both"
            )

    def _parsed(self, line: bytes) -> Entry:
        number = len(self._entries) + 1
        where = f"{self.file}, line {number}"
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError as error:
            raise ReviewError(
                f"{where}: is no entry of a trail ({error.errors()[0]['msg']}); it was edited by hand: restore it from a copy"
            ) from error
        if entry.n != number:
            raise ReviewError(f"{where}: is entry {entry.n}, so lines before it were taken out or put in; restore them from a copy")
        if entry.previous != self._last:
            raise ReviewError(f"{self.file}, line {number - 1}: was changed after it was written, as line {number} says; restore it from a copy")
        return entry

    def _accept(self, entry: Entry, line: bytes) -> None:
        self._entries.append(entry)
        self._last = hashlib.sha256(line).hexdigest()
        self._read += len(line) + 1

    def _known(self) -> tuple[int, str | None]:
        """Number and SHA-256 of the last line, as the head says."""
        try:
            number, digest = self._head.read_text(encoding="ascii").split()
            return int(number), digest
        except FileNotFoundError:
            return 0, None
        except ValueError as error:
            raise ReviewError(f"{self._head}: holds no number and SHA-256 of the last line; restore it from a copy") from error

    def _save_head(self) -> None:
        part = self._head.with_name(self._head.name + ".part")
        part.write_text(f"{len(self._entries)} {self._last}\n", encoding="ascii")
        part.replace(self._head)


def _from(stream: int, offset: int) -> bytes:
    size = os.fstat(stream).st_size - offset
    return os.pread(stream, size, offset) if size > 0 else b""

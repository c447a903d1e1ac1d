"""Who may ask: a file of hashed keys, read again while it changes, and how often each key may ask. Knows no route, no header and no Ray.

What is counted are requests, not products: a batch of 256 costs as much as one product. To count products the body would have to be read and parsed
before the decision, which is what a limit is to prevent; how much one request may carry is limits.py's. Each replica counts alone: three replicas
let three times the rate through.
"""

import hashlib
import hmac
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from prodcat.config import Config, read_yaml, validate
from prodcat.errors import ConfigError

# A revoked key stops within this time; a stat is a microsecond on a disk and may be a millisecond over a network.
LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)

# A name goes into logs and metrics.
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
# Bounds that keep a wait a number that fits a header.
_Rate = Annotated[float, Field(ge=0.001, le=1_000_000, allow_inf_nan=False)]
_Burst = Annotated[int, Field(ge=1, le=1_000_000)]


class _Silent(Config):
    # Who writes a key where its hash belongs must not find it in the logs: errors name the place, never what stands there.
    model_config = ConfigDict(hide_input_in_errors=True)


class Key(_Silent):
    """One caller."""

    name: _Name = Field(description="whom the key is for: letters, digits, '.', '_', '-', at most 64; unique in the file")
    # Plain SHA-256, no salt and no slow hash: those protect secrets that can be guessed. A key is 256 random bits, which nobody guesses at any speed,
    # and a slow hash would cost every request. So keys are made by `prodcat key`, never thought up.
    sha256: _Hash = Field(description="SHA-256 of the key, 64 hex digits; unique in the file")
    requests_per_second: _Rate | None = Field(None, description="requests a second that one text replica answers; null: as many as come")
    burst: _Burst | None = Field(None, description="requests at once after a pause; null: one second's worth, at least 1")

    @model_validator(mode="after")
    def _rate_before_burst(self) -> Self:
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst without requests_per_second limits nothing; set both or leave burst out")
        return self


class KeyFile(_Silent):
    """The file. No keys at all is valid: nobody may ask."""

    # Without a default: a file cut off in the middle of an edit is invalid, and so does not lock everybody out.
    keys: tuple[Key, ...] = Field(description="the callers")


def parse_keys(document: dict[str, Any], source: str) -> KeyFile:
    """A mapping -> checked keys.

    Raises:
        ConfigError: names source and key; never shows a value.
    """
    found = validate(KeyFile, document, source)
    names: set[str] = set()
    hashes: dict[str, str] = {}
    for key in found.keys:
        if key.name in names:
            raise ConfigError(f"{source}: two keys are named {key.name!r}; a name tells callers apart: rename one or remove it")
        if other := hashes.get(key.sha256):
            raise ConfigError(f"{source}: {other!r} and {key.name!r} have the same sha256; make one key for each with `prodcat key`")
        names.add(key.name)
        hashes[key.sha256] = key.name
    return found


def read_keys(file: Path) -> KeyFile:
    """A key file. Raises ConfigError as `parse_keys` does, and for a file that cannot be read."""
    try:
        document = read_yaml(file)
    except (ConfigError, ValueError, RecursionError) as error:
        cause = error.__cause__ or error
        if isinstance(error, ConfigError) and (isinstance(cause, OSError) or error.__cause__ is None):
            raise
        # PyYAML quotes the line; and a date or a number that cannot be, or nesting without end, it lets through as other errors.
        mark = getattr(cause, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{file}: not YAML{place}; expected 'keys:' and a list of name and sha256, as `prodcat key` writes it") from None
    return parse_keys(document, str(file))


class TokenBucket:
    """`burst` requests at once, refilled at `rate` a second.

    Args:
        rate: tokens a second.
        burst: tokens of a full bucket; it starts full.
        now: seconds on any clock that does not go back; the same clock's as for `take`.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._since = float(burst), now

    def take(self, now: float) -> float:
        """0 if a token was there and is taken, else the seconds until one will be."""
        self._tokens = min(float(self.burst), self._tokens + (now - self._since) * self.rate)
        self._since = now
        # A hair less than one is one: who has waited as long as was said is not sent away over a rounding.
        if self._tokens >= 1 - 1e-6:
            self._tokens = max(0.0, self._tokens - 1)
            return 0.0
        return (1 - self._tokens) / self.rate


class KeyRing:
    """The keys of a file, as it stands now. For one thread: an event loop.

    A file that becomes unreadable or invalid changes nothing: the keys read last stay, and the reason is logged once. So a key is taken back by
    editing the file, not by deleting it.

    Meant for tens of keys: a request is compared with each (100 keys: 50 microseconds), and a changed file is read on the event loop (0.1 seconds).

    Args:
        file: the key file.
        clock: seconds; for tests.

    Raises:
        ConfigError: the file cannot be read, or does not fit.
    """

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._looked = clock()
        # Before reading: what is written in between is seen as a change at the next look.
        self._seen = _signature(file)
        self._complaint: str | None = None
        self._keys: tuple[Key, ...] = ()
        self._buckets: dict[str, TokenBucket] = {}
        self._take(read_keys(file).keys)

    def identify(self, secret: bytes) -> Key | None:
        """Whose key it is.

        Args:
            secret: as it came, any bytes.
        """
        self._look()
        digest = hashlib.sha256(secret).hexdigest()
        found = None
        # Every key is compared, and each in constant time: how long it takes says nothing about how near a guess came, or whose key it is.
        for key in self._keys:
            if hmac.compare_digest(digest, key.sha256):
                found = key
        return found

    def wait(self, key: Key) -> float:
        """0 if the key may ask now, which is counted as a request; else the seconds until it may."""
        bucket = self._buckets.get(key.sha256)
        return 0.0 if bucket is None else bucket.take(self._clock())

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        signature = _signature(self._file)
        if signature is not None and signature == self._seen:
            return
        try:
            keys = read_keys(self._file).keys
        except ConfigError as error:
            # Invalid content is not read again until it changes. What the file system refused is: it may allow it later without a change of the file.
            self._seen = None if isinstance(error.__cause__, OSError) else signature
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.error("%s; the %d keys read before stay in force until the file is mended", error, len(self._keys))
            return
        self._seen, self._complaint = signature, None
        self._take(keys)
        _log.info("%s: read again, %d keys", self._file, len(keys))

    def _take(self, keys: Sequence[Key]) -> None:
        # An edit of one key fills nobody else's bucket.
        before, now = self._buckets, self._clock()
        self._keys, self._buckets = tuple(keys), {}
        for key in keys:
            if key.requests_per_second is not None:
                rate, burst = key.requests_per_second, key.burst or max(1, math.ceil(key.requests_per_second))
                old = before.get(key.sha256)
                kept = old is not None and (old.rate, old.burst) == (rate, burst)
                self._buckets[key.sha256] = old if old is not None and kept else TokenBucket(rate, burst, now)


def _signature(file: Path) -> tuple[int, ...] | None:
    """Differs after every change of the file, also after one that puts the old modification time back; None if there is none to be had."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino

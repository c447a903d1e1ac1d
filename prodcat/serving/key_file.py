"""`prodcat key`: makes a key and puts its hash into the key file, or takes it out. Knows no server: that reads the file again by itself.

The file is written whole beside itself and then renamed, so that no reader meets half of it. The name of that second file is also the lock: two who
change the file at once would undo each other's revocation.
"""

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from prodcat.errors import ConfigError
from prodcat.serving.keys import Key, parse_keys, read_keys

# Says what a string found in some log or repository is; programs that search for leaked secrets go by such beginnings.
PREFIX = "prodcat_"
HEADING = "# Who may ask the served API. Written by `prodcat key`, which keeps no comments; the keys themselves stand nowhere, only their hashes.\n"


def change_keys(file: Path, name: str, *, rate: float | None, burst: int | None, revoke: bool) -> dict[str, Any]:
    """Add or revoke a key; the summary of the command."""
    if revoke:
        if rate is not None or burst is not None:
            raise ConfigError("--revoke takes the key away: leave --rate and --burst out")
        return {"revoked": name, "file": str(file), "keys left": revoke_key(file, name)}
    secret = add_key(file, name, rate=rate, burst=burst)
    return {"name": name, "key": secret, "file": str(file), "note": "the key is shown this once; if it is lost, revoke it and make another"}


def add_key(file: Path, name: str, *, rate: float | None = None, burst: int | None = None) -> str:
    """Make a key, append its hash to the file (made if it is not there), and return the key: nothing else holds it.

    Raises:
        ConfigError: the name is taken, a value does not fit, or the file cannot be read or written.
    """
    secret = PREFIX + secrets.token_urlsafe(32)

    def added(keys: tuple[Key, ...]) -> list[dict[str, Any]]:
        if any(key.name == name for key in keys):
            raise ConfigError(f"{file}: there is a key {name!r}; choose another name, or revoke it first: prodcat key {name} --file {file} --revoke")
        new = {"name": name, "sha256": hashlib.sha256(secret.encode()).hexdigest(), "requests_per_second": rate, "burst": burst}
        return [*map(_entry, keys), {field: value for field, value in new.items() if value is not None}]

    _rewrite(file, added)
    return secret


def revoke_key(file: Path, name: str) -> int:
    """Take a key out of the file; how many are left.

    Raises:
        ConfigError: there is no such key, or the file cannot be read or written.
    """

    def without(keys: tuple[Key, ...]) -> list[dict[str, Any]]:
        left = [_entry(key) for key in keys if key.name != name]
        if len(left) == len(keys):
            raise ConfigError(f"{file}: no key {name!r} to revoke; there are: {', '.join(key.name for key in keys) or 'none'}")
        return left

    return _rewrite(file, without)


def _entry(key: Key) -> dict[str, Any]:
    return key.model_dump(exclude_none=True)


def _rewrite(file: Path, change: Callable[[tuple[Key, ...]], list[dict[str, Any]]]) -> int:
    # A link stays a link: what it points to is written.
    target = file.resolve()
    part = target.with_name(target.name + ".part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{part}: another `prodcat key` is changing {file}; if none is running, one was killed: remove {part.name}") from error
    except OSError as error:
        raise ConfigError(f"{part}: cannot be written: {error.strerror}; the folder must be there and yours to write in") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            exists = target.exists()
            document = {"keys": change(read_keys(target).keys if exists else ())}
            keys = parse_keys(document, str(file)).keys
            if exists:
                _as_before(target, stream.fileno())
            stream.write(HEADING + yaml.safe_dump(document, sort_keys=False))
            stream.flush()
            # A revoked key must not come back with the power.
            os.fsync(stream.fileno())
        part.replace(target)
    except BaseException as error:
        # Only here: once renamed, a file of this name is another's.
        part.unlink()
        if isinstance(error, OSError):
            raise ConfigError(f"{file}: cannot be written: {error.strerror}; nothing was changed") from error
        raise
    return len(keys)


def _as_before(target: Path, descriptor: int) -> None:
    """Owner and mode of the file it replaces: who could read it can go on reading it, above all the user the server runs as."""
    old, new = target.stat(), os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o777)

"""Folders and files that lie in an object store, brought to this machine whole and taken back. Knows Location and no format but sums in a manifest.

What is fetched is complete or not there, and is fetched once by all processes that share the folder it is kept in. What is delivered is complete when
its manifests are there, which come last; an index beside it says what a delivery has brought, so that the next one brings what has changed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs

from prodcat.errors import StoreError
from prodcat.location import Location, is_uri

Say = Callable[[str], None]
# Bytes and SHA-256 of a file.
Told = tuple[int, str]
# At a target: what deliveries have brought there.
INDEX = ".delivered.json"
# Files that say that what lies beside and below them is whole: they are written after it, those of inner folders first.
COMMITS = ("taxonomy.json", "manifest.json", "catalog.json", "encoder.json", "steps.json", "run.json")
_KEPT = "kept.json"
_AT_ONCE = 8
_CHUNK = 8 * 2**20


def _silent(line: str) -> None:
    """For a caller who does not ask for progress."""


def private_folder(name: str) -> Path:
    """A folder of this user's in the machine's temporary folder, the same for every process.

    Raises:
        StoreError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StoreError(f"{folder}: not a folder of this user's alone; remove it, or name another one")
    return folder


def local_path(source: str) -> Path | None:
    """Where a path or a file:// URI lies on this machine; None: in a store."""
    if not is_uri(source):
        return Path(source)
    # By its name: a store is not to be asked for this.
    return Path(Location(source).path) if source.lower().startswith("file://") else None


def state_of(files: Mapping[str, fs.FileInfo]) -> str:
    """What lies in a folder, by names, sizes and times: equal while nobody has written there."""
    lines = (f"{name}\n{info.size}\n{info.mtime_ns}\n" for name, info in sorted(files.items()) if name != INDEX)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def fetch(source: str, keep: Path, on_progress: Say = _silent) -> Path:
    """What lies at a URI, on this machine.

    Args:
        source: a file or folder; what is on this machine already is not copied.
        keep: folder of copies; may be shared by processes, and by machines.

    Returns:
        The copy, complete, with the name that it has in the store. A bundle that is there already is known by its manifest, a catalog by its
        catalog.json, all else by names, sizes and times.

    Raises:
        StoreError: there is nothing, a name leads out of the folder, a file is not what its manifest says, or somebody writes there meanwhile.
    """
    if (path := local_path(source)) is not None:
        return path
    place = Location(source.rstrip("/"))
    info = place.info()
    if info.is_file:
        return _kept(place, {"": info}, keep, f"{info.size} {info.mtime_ns}", {}, on_progress)
    files = {name: info for name, info in place.files().items() if PurePosixPath(name).name != INDEX}
    if not files:
        raise StoreError(f"{source}: nothing there; mend the name, or look whether its bucket exists and may be listed")
    commit = _commit(place, files)
    key = state_of(files) if commit is None else hashlib.sha256(commit[1]).hexdigest()
    return _kept(place, files, keep, key, {} if commit is None else _sums(commit[1]), on_progress, commit)


def _commit(place: Location, files: Mapping[str, fs.FileInfo]) -> tuple[str, bytes] | None:
    """The file that tells what is in the folder, and what stands in it; None for a folder that has none."""
    if "catalog.json" in files:
        return "catalog.json", _there(place, "catalog.json")
    if "manifest.json" in files and _sums(content := _there(place, "manifest.json")):
        return "manifest.json", content
    return None


def _there(place: Location, name: str) -> bytes:
    try:
        return place.child(name).read_bytes()
    except FileNotFoundError as error:
        raise StoreError(f"{place.source}: {name} has gone while it was looked at; somebody writes there: start again") from error


def _sums(content: bytes) -> dict[str, str]:
    """Name -> SHA-256, of a manifest that has them."""
    try:
        found = json.loads(content)["files"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _kept(
    place: Location,
    files: Mapping[str, fs.FileInfo],
    keep: Path,
    key: str,
    sums: Mapping[str, str],
    on_progress: Say,
    commit: tuple[str, bytes] | None = None,
) -> Path:
    """Args: files: by their names in the folder; "" is the place itself."""
    _check_names(place, files)
    digest = hashlib.sha256(f"{place.source}\n{key}".encode()).hexdigest()
    entry = keep / f"{place.name}-{digest[:24]}"
    keep.mkdir(parents=True, exist_ok=True)
    with _alone(keep / f".{entry.name}.lock"):
        if not _whole(entry):
            # A system may clean its temporary folder file by file.
            shutil.rmtree(entry, ignore_errors=True)
            megabytes = sum(info.size for info in files.values()) / 1e6
            on_progress(f"fetching {place.source}: {len(files):,} files, {megabytes:,.1f} MB")
            made = keep / f".{entry.name}.{uuid.uuid4().hex}"
            try:
                copied = _copied(place, files, made / place.name, sums)
                if commit is not None and _there(place, commit[0]) != commit[1]:
                    raise StoreError(f"{place.source}: somebody has written it anew while it was fetched; start again")
                told = {"source": place.source, "name": place.name, "files": {name: size for name, (size, _) in copied.items()}}
                (made / _KEPT).write_text(json.dumps(told), encoding="utf-8")
                made.rename(entry)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return entry / place.name


def _check_names(place: Location, names: Mapping[str, Any]) -> None:
    for name in names:
        if name and (name.startswith("/") or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/"))):
            raise StoreError(f"{place.source}: holds {name!r}, which leads out of the folder or is no file's name; remove it there")


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time, so that a machine's actors do not fetch the same thing side by side."""
    with lock.open("w") as stream:
        # Where a file system has no locks both fetch, and the first one's copy counts.
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _whole(entry: Path) -> bool:
    try:
        kept = json.loads((entry / _KEPT).read_text(encoding="utf-8"))
        return all((entry / kept["name"] / name).stat().st_size == size for name, size in kept["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _copied(place: Location, files: Mapping[str, fs.FileInfo], into: Path, sums: Mapping[str, str]) -> dict[str, Told]:
    store = place.filesystem

    def copy(name: str) -> Told:
        target = into / name if name else into
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with place.answering("read"), store.open_input_stream(files[name].path) as stream, target.open("wb") as out:
                while chunk := stream.read(_CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
        except FileNotFoundError as error:
            raise StoreError(f"{place.source}: {name} has gone while it was fetched; somebody writes there: start again") from error
        if size != files[name].size or digest.hexdigest() != sums.get(name, digest.hexdigest()):
            raise StoreError(f"{place.source}: {name or place.name} is not the file that was listed, or that its manifest names; deliver it again")
        return size, digest.hexdigest()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(files, pool.map(copy, files), strict=True))


def bring(place: Location, files: Mapping[str, fs.FileInfo], into: Path) -> dict[str, Told]:
    """Every file of a listing, in a folder that may be worked in -> what they are, by name. Errors as of `fetch`."""
    _check_names(place, files)
    return _copied(place, {name: info for name, info in files.items() if PurePosixPath(name).name != INDEX}, into, {})


def deliver(
    folder: Path,
    target: str,
    on_progress: Say = _silent,
    *,
    instead: Mapping[str, bytes] | None = None,
    brought: Mapping[str, Told] | None = None,
) -> int:
    """Make what earlier deliveries have brought to a URI what the folder is now -> files that were written.

    Cut off, it leaves no manifest that names what is not there, and goes on when it is called again. What is at the target and was never delivered
    stays, but for what has the name of a file of the folder.

    Args:
        instead: content by name, for files that are to read otherwise there.
        brought: what was brought from there into the folder, by name: known to be there, and ours to remove, like what was delivered.

    Raises:
        StoreError: the store does not take it.
    """
    place, instead = Location(target.rstrip("/")), dict(instead or {})
    there = place.files()
    index, pending = _index(place, INDEX in there)
    known = {**(brought or {}), **index}
    own = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != INDEX}
    sums = {name: _digest(path, instead.get(name)) for name, path in own.items()}
    new = [name for name, told in sums.items() if name in pending or known.get(name) != told or name not in there or there[name].size != told[0]]
    gone = sorted((known.keys() | pending) & there.keys() - own.keys())
    # Before anything is overwritten that a manifest names, the manifest goes, and comes again last.
    over = [name for name in new if name in there]
    withdrawn = [name for name in there if name in {*own, *known} and any(_governs(name, other) for other in over)]
    new = sorted({*new, *(name for name in withdrawn if name in own)})
    if not new and not gone:
        return 0
    # From here on nobody knows of these what they are, until they are known again.
    _write_index(place, {name: told for name, told in known.items() if name not in new}, sorted({*pending, *new}))
    for name in withdrawn:
        place.child(name).delete()
    on_progress(f"delivering {len(new):,} files, {sum(sums[name][0] for name in new) / 1e6:,.1f} MB, to {place.source}")
    done: dict[str, Told] = {name: known[name] for name in known if name in own and name not in new}
    try:
        for names in _in_order(new):
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for name in pool.map(lambda name: _put(place, name, own[name], instead.get(name), sums[name][0]), names):
                    done[name] = sums[name]
        for name in gone:
            place.child(name).delete()
    except StoreError:
        with contextlib.suppress(StoreError):
            _write_index(place, done, sorted({*gone, *(name for name in new if name not in done)}))
        raise
    _write_index(place, done, [])
    return len(new)


def _governs(commit: str, name: str) -> bool:
    """Whether the first is a manifest that speaks of the second."""
    folder, _, file = commit.rpartition("/")
    above, _, other = name.rpartition("/")
    if file not in COMMITS or (above == folder and other in COMMITS):
        return False
    return not folder or name.startswith(f"{folder}/")


def _in_order(names: list[str]) -> Iterator[list[str]]:
    """What may be written side by side; manifests after what they name."""
    rank = {name: COMMITS.index(file) if (file := PurePosixPath(name).name) in COMMITS else -1 for name in names}
    yield [name for name in names if rank[name] < 0]
    for name in sorted((name for name in names if rank[name] >= 0), key=lambda name: (-name.count("/"), rank[name], name)):
        yield [name]


def _digest(path: Path, instead: bytes | None) -> Told:
    if instead is not None:
        return len(instead), hashlib.sha256(instead).hexdigest()
    with path.open("rb") as stream:
        return path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()


def _put(place: Location, name: str, path: Path, instead: bytes | None, size: int) -> str:
    if instead is not None or size <= _CHUNK:
        place.child(name).write_bytes(path.read_bytes() if instead is None else instead)
        return name
    with place.answering("written"), place.filesystem.open_output_stream(f"{place.path}/{name}") as out, path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            out.write(chunk)
    return name


def _index(place: Location, there: bool) -> tuple[dict[str, Told], set[str]]:
    """Name -> size and SHA-256 of what is known to be there, and names of which nothing is known."""
    if not there:
        return {}, set()
    try:
        found = json.loads(place.child(INDEX).read_bytes())
        return {name: (int(size), str(digest)) for name, (size, digest) in found["files"].items()}, set(found["pending"])
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place.child(INDEX).source}: damaged ({error!r}); remove it: all is delivered again then") from error


def _write_index(place: Location, files: Mapping[str, Told], pending: list[str]) -> None:
    place.child(INDEX).write_bytes(json.dumps({"files": dict(sorted(files.items())), "pending": pending}, indent=1).encode() + b"\n")

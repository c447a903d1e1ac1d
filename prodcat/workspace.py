"""A job's inputs and outputs that lie in object stores, as folders of this machine while it runs: fetched before, delivered after. Knows no stage.

    with Workspace(folder, say) as work:
        summary = run(work.path("s3://shop/bundle"), work.out("s3://shop/report"))
        return work.named(summary)

What a store holds at an output's URI is brought first, so a job that goes on where it stopped does so here too. Delivered is at the end, and when
the job gives up with one of prodcat's errors. A job that was killed has delivered nothing; where its working folder was named, the next one goes on
there.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prodcat.errors import ProdcatError, StoreError
from prodcat.location import Location, is_uri
from prodcat.remote import INDEX, Say, Told, bring, deliver, fetch, local_path, state_of

# Small files of a result in which places are named: they name URIs in the store, and this machine's folders here.
_TELLING = ("*.json", "report/*.json")
# These name places that the next job is to find again.
_NOTED = ("run.json",)
_TOLD_BYTES = 2**22
# Beside a working folder: what lay at its URI when folder and store were last alike.
_STATE = "state.json"


class Workspace:
    """Use it as a context manager.

    Args:
        folder: where copies and results lie while the job runs, on a file system that all nodes of the cluster see; kept. None: a temporary folder of
            this machine, removed at the end.
        say: given lines of progress.
    """

    def __init__(self, folder: Path | None, say: Say) -> None:
        self._named, self._say = folder, say
        # Local folder -> what its user calls it.
        self._names: dict[Path, str] = {}
        # Of these, what was fetched, and what is to be delivered.
        self._fetched: dict[Path, str] = {}
        self._outs: dict[Path, str] = {}
        self._local_outs: list[Path] = []

    def __enter__(self) -> Self:
        made = self._named.absolute() if self._named is not None else None
        try:
            if made is not None:
                made.mkdir(parents=True, exist_ok=True)
            self._folder = made or Path(tempfile.mkdtemp(prefix="prodcat-work-"))
        except OSError as error:
            raise StoreError(f"{made}: not a folder to work in ({error}); name another one with --work") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Whatever goes wrong before all is delivered, what was made must not be lost.
        keep = bool(self._outs)
        for folder in self._local_outs:
            for name, content in self._retold(folder, self._fetched).items():
                (folder / name).write_bytes(content)
        try:
            if error is None or isinstance(error, ProdcatError):
                for folder, target in self._outs.items():
                    self._deliver(folder, target)
                keep = False
            elif keep:
                self.say(f"not delivered; what was made is kept in {self._folder}")
        except StoreError as refused:
            told = f"{refused}; what was made is kept in {self._folder}"
            if error is None:
                raise StoreError(told) from refused
            self.say(f"not delivered: {told}")
        finally:
            if not keep and self._named is None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def path(self, source: str) -> Path:
        """An input as a folder or file of this machine. Raises StoreError as `fetch` does."""
        found = fetch(source, self._folder / "fetched", self._say)
        if is_uri(source):
            self._names[found.absolute()] = source.rstrip("/")
        if local_path(source) is None:
            self._fetched[found.absolute()] = source.rstrip("/")
        return found

    def optional(self, source: str | None) -> Path | None:
        """As `path`, of what need not be given."""
        return None if source is None else self.path(source)

    def local(self, source: str | None) -> str | None:
        """As `path`, of what may be another name than that of a place; only a URI is looked at."""
        return str(self.path(source)) if source is not None and is_uri(source) else source

    def sources(self, sources: Sequence[str]) -> list[str]:
        """Feeds as they are, for they are read where they lie; a catalog as a folder of this machine."""
        if len(sources) == 1 and is_uri(sources[0]) and is_catalog(sources[0]):
            return [str(self.path(sources[0]))]
        return list(sources)

    def out(self, target: str) -> Path:
        """An output as a folder of this machine, which holds what lies at the target. Raises StoreError where the store does not say."""
        if (path := local_path(target)) is not None:
            if is_uri(target):
                self._names[path.absolute()] = target.rstrip("/")
            self._local_outs.append(path.absolute())
            self._find_noted(path.absolute(), target)
            return path
        target = target.rstrip("/")
        place = Location(target)
        folder = self._folder / "out" / f"{place.name}-{hashlib.sha256(target.encode()).hexdigest()[:12]}" / place.name
        files = {name: info for name, info in place.files().items() if name != INDEX}
        state = state_of(files)
        noted = folder.parent / _STATE
        # Where the store is as this folder has left it, the folder is what is there, or ahead of it.
        if not noted.is_file() or json.loads(noted.read_text(encoding="utf-8"))["state"] != state:
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.parent.mkdir(parents=True)
            if files:
                self.say(f"bringing {target}: {len(files):,} files, {sum(info.size for info in files.values()) / 1e6:,.1f} MB")
            _note(noted, state, bring(place, files, folder))
        self._names[folder] = self._outs[folder] = target
        self._find_noted(folder, target)
        return folder

    def named(self, told: Any) -> Any:
        """What a job tells, with URIs in place of this machine's folders."""
        if isinstance(told, dict):
            return {name: self.named(value) for name, value in told.items()}
        if isinstance(told, list | tuple):
            return [self.named(value) for value in told]
        return _renamed(told, self._names) if isinstance(told, str) else told

    def say(self, line: str) -> None:
        """Progress, told with URIs."""
        self._say(_renamed(line, self._names))

    def _find_noted(self, folder: Path, target: str) -> None:
        """What a result names by its URI is fetched, and named by its folder here."""
        for file in (folder / name for name in _NOTED):
            if file.is_file():
                content = json.loads(file.read_text(encoding="utf-8"))
                for name, value in content.items():
                    if isinstance(value, str) and is_uri(value):
                        inside = value.removeprefix(f"{target}/")
                        content[name] = inside if inside != value else str(self.path(value))
                file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _deliver(self, folder: Path, target: str) -> None:
        if not folder.is_dir():
            return
        instead = self._retold(folder, self._names)
        noted = folder.parent / _STATE
        brought = {name: (size, digest) for name, (size, digest) in json.loads(noted.read_text(encoding="utf-8"))["brought"].items()}
        deliver(folder, target, self._say, instead=instead, brought=brought)
        _note(noted, state_of(Location(target).files()), {})

    def _retold(self, folder: Path, names: Mapping[Path, str]) -> dict[str, bytes]:
        """Files of a result that name folders of this machine: what they say in the end."""
        found = {}
        for file in (file for pattern in _TELLING for file in folder.glob(pattern)):
            if file.stat().st_size <= _TOLD_BYTES:
                text = file.read_text(encoding="utf-8")
                if (renamed := _renamed(text, names)) != text:
                    found[file.relative_to(folder).as_posix()] = renamed.encode()
        return found


def _renamed(text: str, names: Mapping[Path, str]) -> str:
    # The longest first: one may lie in another.
    for folder, name in sorted(names.items(), key=lambda entry: -len(str(entry[0]))):
        place, mark, options = name.partition("?")
        told = partial(_told, place=place, options=mark + options)
        text = re.sub(rf"(?<![\w/:.-]){re.escape(str(folder))}((?:/[\w.@=+~-]+)*)(?![\w-])", told, text)
    return text


def _told(found: re.Match[str], *, place: str, options: str) -> str:
    return f"{place}{found[1]}{options}"


def _note(file: Path, state: str, brought: dict[str, Told]) -> None:
    file.write_text(json.dumps({"state": state, "brought": brought}), encoding="utf-8")


def is_catalog(source: str) -> bool:
    """Whether a catalog lies at a path or URI. Raises StoreError where a store does not say."""
    return Location(source.rstrip("/") or source).child("catalog.json").is_file()

"""The model store: a folder whose models.json says which bundle is current, which one is a canary and for what share, and which one was before.

`prodcat promote` and `prodcat rollback` write it, whole or not at all; a running application looks at it and takes up what changed. The bundles stay
where they are: the store names their folders. Knows no server.
"""

import os
from pathlib import Path

from pydantic import Field, ValidationError

from prodcat.config import Config
from prodcat.errors import BundleError, ConfigError
from prodcat.prediction.bundle import MANIFEST, Bundle

MODELS = "models.json"


class Entry(Config):
    """A bundle that is served.

    Args:
        folder: absolute, as every node sees it.
        version: the bundle's; another one found there is refused.
    """

    folder: str
    version: str


class Promoted(Config):
    """What is to be served.

    Args:
        canary_share: of the products, 0..1; which ones is decided by what a product says, so each keeps its bundle.
        previous: what rollback goes back to.
    """

    current: Entry
    canary: Entry | None = None
    canary_share: float = Field(0.0, ge=0, le=1)
    previous: Entry | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (self.current,) if self.canary is None else (self.current, self.canary)


class ModelStore:
    """Args: folder: of models.json; made by the first promotion."""

    def __init__(self, folder: Path) -> None:
        self.file = folder.absolute() / MODELS

    def read(self) -> Promoted | None:
        """None where nothing was promoted yet. Raises ConfigError for a file that is damaged."""
        try:
            return Promoted.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ConfigError(f"{self.file}: damaged: {error}; write it anew with `prodcat promote`") from error

    def promote(self, bundle: Bundle, share: float | None = None) -> Promoted:
        """Make a bundle the current one, or with a share the canary. The caller has seen it answer.

        Raises:
            ConfigError: a canary beside nothing, or the current bundle as its own canary.
        """
        entry, before = entry_of(bundle), self.read()
        if share is not None:
            if before is None:
                raise ConfigError(
                    f"{self.file}: nothing is current yet, so there is nothing to compare a canary with; promote without --canary first"
                )
            if before.current == entry:
                raise ConfigError(f"{bundle.folder}: is the current bundle already; a canary must be another one")
            after = before.model_copy(update={"canary": entry, "canary_share": share})
        elif before is None:
            after = Promoted(current=entry)
        elif before.current == entry:
            after = before.model_copy(update={"canary": None, "canary_share": 0.0})
        else:
            after = Promoted(current=entry, previous=before.current)
        self._write(after)
        return after

    def rollback(self) -> Promoted:
        """Take the canary away; without one, make the previous bundle current again (and a second rollback undoes the first).

        Raises:
            ConfigError: there is nothing to go back to.
            BundleError: the previous bundle is not there any more, or has changed.
        """
        before = self.read()
        if before is None or (before.canary is None and before.previous is None):
            raise ConfigError(f"{self.file}: nothing to go back to; no bundle was promoted over another one")
        if before.canary is not None:
            after = before.model_copy(update={"canary": None, "canary_share": 0.0})
        else:
            assert before.previous is not None
            open_entry(before.previous)
            after = Promoted(current=before.previous, previous=before.current)
        self._write(after)
        return after

    def _write(self, promoted: Promoted) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(f".{os.getpid()}.part")
        part.write_text(promoted.model_dump_json(indent=1) + "\n", encoding="utf-8")
        part.replace(self.file)


def entry_of(bundle: Bundle) -> Entry:
    return Entry(folder=str(bundle.folder.absolute()), version=bundle.version)


def open_entry(entry: Entry) -> Bundle:
    """The bundle with all its sums checked. Raises BundleError if another one lies there now."""
    bundle = Bundle.open(entry.folder)
    if bundle.version != entry.version:
        raise BundleError(f"{entry.folder}: holds bundle {bundle.version}, promoted was {entry.version}; promote it anew")
    return bundle


def served(folder: Path) -> Promoted | None:
    """What a folder named in the serve config stands for: a store's promoted bundles, or the one bundle that lies there; None for neither."""
    if (folder / MODELS).is_file():
        return ModelStore(folder).read()
    if (folder / MANIFEST).is_file():
        return Promoted(current=entry_of(Bundle.open(folder, only=lambda _: False)))
    return None

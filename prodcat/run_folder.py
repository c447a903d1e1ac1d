"""What a run's folder remembers. Knows no step.

steps.json   what each step was made for, so that a run that was broken off goes on where it stopped
run.json     from which catalog and with which profile it was made, so that another command can go on from it
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prodcat.config import C, Config, validate
from prodcat.errors import FeedError
from prodcat.location import is_uri

Progress = Callable[[str], None]
RUN = "run.json"
# In an encoder's folder of a run: what its training left, and in there, what training a text encoder by the categories left.
TRAINING, BY_CATEGORIES = "training", "by_categories"


class Steps:
    """What each step of a run was made for, so that it is not made again."""

    def __init__(self, folder: Path, on_progress: Progress) -> None:
        self._file, self._print = folder / "steps.json", on_progress
        self._done: dict[str, str] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def run(self, name: str, inputs: Sequence[Any], result: Path, make: Callable[[], Any], *, keep: bool = False) -> str:
        """Make `result` unless it is there for these inputs.

        Args:
            inputs: strings and configs that decide the result.
            keep: `make` goes on from what lies in `result`; else what lies there is removed first.

        Returns:
            The step's key, an input of the steps that read its result.
        """
        key = hashlib.sha256("\n".join(x.model_dump_json() if isinstance(x, Config) else str(x) for x in (name, *inputs)).encode()).hexdigest()[:16]
        if self._done.get(name) == key and result.exists():
            self._print(f"{name}: done before")
            return key
        # A half-made result of the same inputs is gone on from; one of other inputs is not.
        if result.exists() and not (keep or self._done.get(f"{name} begun") == key):
            shutil.rmtree(result)
        self._note(f"{name} begun", key)
        started = time.perf_counter()
        self._print(f"{name} ...")
        make()
        self._note(name, key)
        self._print(f"{name}: {time.perf_counter() - started:.0f} s")
        return key

    def _note(self, name: str, key: str) -> None:
        self._done[name] = key
        self._file.parent.mkdir(parents=True, exist_ok=True)
        _write(self._file, self._done)


def note_run(out: Path, catalog: str, config: Config) -> None:
    """Args: out: absolute."""
    place = Path(catalog).absolute()
    # Relative where it lies in the run's folder, so that a run can be moved.
    noted = place.relative_to(out) if place.is_relative_to(out) else place
    _write(out / RUN, {"catalog": str(noted), "config": config.model_dump(mode="json")})


def open_run(run: Path, kind: type[C]) -> tuple[str, C]:
    """The catalog folder and the profile, of this kind, of a run that was begun before.

    Raises:
        FeedError: there is no run in the folder.
        ConfigError: its profile is of another version of prodcat.
    """
    noted = run / RUN
    if not noted.is_file():
        raise FeedError(f"{run}: no run here ({RUN} is missing); give the folder that `prodcat fit` wrote to")
    content = json.loads(noted.read_text(encoding="utf-8"))
    catalog = content["catalog"] if is_uri(content["catalog"]) else str(run / content["catalog"])
    return catalog, validate(kind, content["config"], str(noted))


def _write(file: Path, content: Any) -> None:
    """Whole or not at all: a run may be killed at any moment, and goes on from this file."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(file)

"""YAML files and --set overrides into the small frozen configs that stand beside each component. There is no global configuration object.

A config is a pydantic model derived from `Config`: frozen, unknown keys refused by name with the nearest known one.
"""

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from prodcat.errors import ConfigError


class Config(BaseModel):
    """Base of every config: frozen, no unknown keys, defaults checked too."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


C = TypeVar("C", bound=Config)


def profile_path(name: str) -> Path:
    """A path as it is, or the place of a shipped profile ("offline", "hub", "multilingual")."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    # The job configurations are the profiles: one YAML per profile, whether used by a job or by the command line.
    shipped = Path(str(resources.files("ray_jobs"))) / "configs"
    if (shipped / f"{name}.yaml").is_file():
        return shipped / f"{name}.yaml"
    raise ConfigError(f"no configuration {name!r}: give a YAML file, or one of the profiles {sorted(p.stem for p in shipped.glob('*.yaml'))}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping (an empty file is an empty mapping)."""
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: the top level must be 'key: value' lines, found a {type(document).__name__}")
    return document


def load(kind: type[C], path: str | Path | None = None, overrides: Sequence[str] = ()) -> C:
    """Read a config.

    Args:
        kind: the config's class.
        path: YAML file or profile name; None for all defaults.
        overrides: "stage_one.epochs=3": a dotted key and a YAML value; later ones win.

    Raises:
        ConfigError: names file (or --set), key, what was expected, and the nearest known key for an unknown one.
    """
    source = profile_path(str(path)) if path is not None else None
    document = read_yaml(source) if source else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override}: expected key=value, for example --set seed=1")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override}: the value is not YAML: {error}") from error
        _put(document, key.split("."), value, override)
    return validate(kind, document, str(source) if source else "defaults and --set")


def validate(kind: type[C], document: dict[str, Any], source: str) -> C:
    """A mapping -> config. Raises ConfigError as `load` does."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(kind, problem["loc"][:-1]), n=1)
                known = ", ".join(sorted(_known_keys(kind, problem["loc"][:-1])))
                lines.append(f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "") + (f" (known: {known})" if known else ""))
            else:
                # pydantic's own switch, for configs whose values are nobody's business.
                found = "" if kind.model_config.get("hide_input_in_errors") else f", found {problem['input']!r}"
                lines.append(f"key {key!r}: {problem['msg']}{found}")
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def _put(document: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        inner = document.setdefault(key, {})
        if inner is None:
            inner = document[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {key!r} holds {inner!r}, not further keys")
        document = inner
    document[keys[-1]] = value


def _known_keys(kind: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """Field names of the model that stands at `location` inside `kind`; empty where that is not one model."""
    model: Any = kind
    for part in location:
        if isinstance(part, int):
            continue  # a place in a list: `model` is the class of its items already
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        field = model.model_fields.get(str(part))
        if field is None:
            return []
        model = field.annotation
        options = [m for m in getattr(model, "__args__", ()) if isinstance(m, type) and issubclass(m, BaseModel)]
        if len(options) == 1:
            model = options[0]
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []

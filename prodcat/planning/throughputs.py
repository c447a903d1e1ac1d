"""How fast each stage is, and how anyone knows: a file of throughputs, each measured by a named script or assumed for a named reason.

A throughput belongs to one unit: a CPU core or a GPU. A stage may have one for each; the planner then takes the cheaper. Knows no prices and no plan.
"""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from prodcat.config import Config, read_yaml, validate
from prodcat.errors import ConfigError

Unit = Literal["cpu", "gpu"]
StageName = Literal[
    "ingest_text", "ingest_image", "embed_text", "embed_image", "fit_stage_one", "fit_fusion", "stage_one", "stage_two", "recategorize"
]
STAGES: tuple[StageName, ...] = get_args(StageName)


class Sourced(Config):
    """Anything whose value was either measured or assumed, and says so."""

    measured: bool = Field(description="whether a script measured it")
    by: str | None = Field(None, min_length=1, description="where measured: script, machine and date")
    why: str | None = Field(None, min_length=1, description="where assumed: what it was derived from")

    @model_validator(mode="after")
    def _says_how(self) -> Self:
        if self.measured and self.by is None:
            raise ValueError("a measured figure says in `by` which script, machine and date; otherwise set measured: false and give `why`")
        if not self.measured and self.why is None:
            raise ValueError("an assumed figure says in `why` what it was derived from")
        return self

    @property
    def mark(self) -> Literal["measured", "assumed"]:
        return "measured" if self.measured else "assumed"


class Rate(Sourced):
    """A throughput of one CPU core or one GPU."""

    rows_per_second: float = Field(gt=0, allow_inf_nan=False, description="of one unit that has nothing else to do")
    most_units: int | None = Field(None, ge=1, description="more of them make it no faster; null: it spreads without end")


class Figure(Sourced):
    """A size, a share or a time that plans need."""

    value: float = Field(ge=0, allow_inf_nan=False)


class Figures(Config):
    """What plans need beside rates."""

    gate_share: Figure = Field(description="share of products that stage one is not sure of")
    job_start_seconds: Figure = Field(description="from the start of a job to its first row")
    text_actor_mb: Figure = Field(description="resident memory of a process of stage one")
    gpu_actor_mb: Figure = Field(description="resident memory of a process that embeds or runs stage two")
    driver_bytes_a_product: Figure = Field(description="what ingestion keeps of every product until its end, in one process")
    product_bytes: Figure = Field(description="a stored product without its photo")
    image_bytes: Figure = Field(description="a stored photo")
    text_features_bytes: Figure = Field(description="stored vectors of a product's texts")
    image_features_bytes: Figure = Field(description="stored vectors of a product's photo")
    answer_bytes: Figure = Field(description="a stored prediction")


class Throughputs(Config):
    """A file of throughputs, as throughputs.yaml beside this module."""

    stages: dict[StageName, dict[Unit, Rate]] = Field(description="stage -> unit -> throughput")
    figures: Figures

    @model_validator(mode="after")
    def _every_stage(self) -> Self:
        lacking = [stage for stage in STAGES if not self.stages.get(stage)]
        if lacking:
            raise ValueError(f"no throughput for {', '.join(lacking)}: give each of them one for cpu or gpu")
        return self


def packaged() -> Throughputs:
    """The throughputs that come with prodcat."""
    path = Path(str(resources.files("prodcat.planning"))) / "throughputs.yaml"
    return validate(Throughputs, read_yaml(path), path.name)


def read_throughputs(path: Path | None) -> Throughputs:
    """Throughputs of a file: a whole YAML file, or a benchmark's results as JSON laid over the packaged ones; None: the packaged ones.

    Raises:
        ConfigError: names file and key.
    """
    if path is None:
        return packaged()
    if path.suffix == ".json":
        return with_measured(packaged(), path)
    return validate(Throughputs, read_yaml(path), f"--throughputs {path}")


def with_measured(throughputs: Throughputs, path: Path) -> Throughputs:
    """`throughputs` with those that a benchmark measured put in their place.

    Args:
        path: JSON that holds {"throughputs": {"embed_text": {"rows_per_second": 350, "unit": "cpu", "by": "script, machine, date"}, ...}}; each
            replaces that stage's rate of that unit, every other rate stays. Further keys of the file are not looked at.

    Raises:
        ConfigError: names file, stage and key.
    """
    source = f"--throughputs {path}"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{source}: not JSON: {error}") from error
    found = document.get("throughputs") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{source}: holds no 'throughputs'; give a results file of benchmarks/scale.py, or a whole YAML file of throughputs")
    stages = {stage: dict(rates) for stage, rates in throughputs.stages.items()}
    for name, entry in found.items():
        unit, rate = _measured(name, entry, source)
        before = stages[name].get(unit)
        if before is not None and rate.most_units is None:
            rate = rate.model_copy(update={"most_units": before.most_units})
        stages[name][unit] = rate
    return throughputs.model_copy(update={"stages": stages})


def _measured(name: str, entry: Any, source: str) -> tuple[Unit, Rate]:
    if name not in STAGES:
        raise ConfigError(f"{source}: unknown stage {name!r}; known: {', '.join(STAGES)}")
    if not isinstance(entry, Mapping) or entry.get("unit") not in get_args(Unit):
        raise ConfigError(
            f"{source}: throughputs.{name}: expected rows_per_second, by, and unit: one of {', '.join(get_args(Unit))}; found {entry!r}"
        )
    rest = {key: value for key, value in entry.items() if key != "unit"}
    return entry["unit"], validate(Rate, {"measured": True, **rest}, f"{source}: throughputs.{name}")

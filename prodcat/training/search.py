"""Searches stage two's settings with Ray Tune: Optuna proposes, ASHA stops what lags behind, a trial runs the training loop in a process of its own.

Ray's own records of a search are for the time it runs. What a search goes on from after a kill, or when more trials are asked for, is the record of
finished trials (trials.py), which Optuna is told anew: it holds no pickle and does not depend on Ray's version. A trial that was running is lost.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import optuna
import torch
from pydantic import Field, model_validator
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from prodcat.config import Config
from prodcat.distributed import each
from prodcat.errors import TrainingError
from prodcat.model.losses import PLAIN, Objective
from prodcat.prediction.multimodal_stage import fused_logits
from prodcat.taxonomy import Taxonomy
from prodcat.training.fusion_stage import FusionStageConfig, FusionStageModule, FusionStageTask, modalities_of
from prodcat.training.in_memory import FusionData, train_in_memory
from prodcat.training.loop import Epoch, LoopState
from prodcat.training.trials import CHOICES, LOGARITHMIC, Record, SearchSpace, Trial, best, with_values

METRIC = "validation"


class SearchConfig(Config):
    """How long is searched, and what a trial may take of the cluster."""

    trials: int | None = Field(40, ge=1, description="trials altogether, those of earlier starts included; null: as many as fit into `minutes`")
    minutes: float | None = Field(None, gt=0, description="minutes altogether, those of earlier starts included; null: until `trials` are done")
    space: SearchSpace = SearchSpace()
    grace_epochs: int = Field(5, ge=1, description="no trial is stopped before")
    reduction: int = Field(
        3, ge=2, description="of trials that reach a rung (grace_epochs, times reduction, times reduction ...) one in so many goes on"
    )
    at_once: int | None = Field(None, ge=1, description="trials at once; null: as many as the cluster has room for")
    cpus_per_trial: float = Field(0.5, gt=0, description="logical CPUs of a trial")
    gpus_per_trial: float = Field(0.0, ge=0, description="GPUs of a trial; fractions share one")
    threads: int = Field(1, ge=1, description="torch threads of a trial")
    retries: int = Field(2, ge=0, description="times that a trial which failed is tried again: its node may have been lost")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.minutes is None:
            raise ValueError("trials and minutes are both null: the search would not end")
        return self


@dataclass(frozen=True)
class FusionInputs:
    """What a fusion is trained and chosen on. Holds no test product."""

    train: FusionData
    validation: FusionData
    reads: Mapping[str, Literal["text", "image"]]
    tree: Taxonomy
    objective: Objective = PLAIN

    def of(self, modalities: Sequence[str]) -> "FusionInputs":
        """These modalities only, in the order they have here."""
        reads = {name: kind for name, kind in self.reads.items() if name in modalities}
        return FusionInputs(self.train.of(modalities), self.validation.of(modalities), reads, self.tree, self.objective)

    def rows(self, train: np.ndarray | None, validation: np.ndarray | None) -> "FusionInputs":
        """These products only; None: all."""
        own = self.train if train is None else self.train.rows(train)
        other = self.validation if validation is None else self.validation.rows(validation)
        return FusionInputs(own, other, self.reads, self.tree, self.objective)

    def task(self, config: FusionStageConfig) -> FusionStageTask:
        return FusionStageTask(modalities_of(self.train.vectors, self.train.present, self.reads), self.tree, config.fusion, objective=self.objective)


def search(
    inputs: FusionInputs, base: FusionStageConfig, config: SearchConfig, record: Record, on_progress: Callable[[str], None]
) -> tuple[Trial, ...]:
    """Run trials until the budget is spent; those on record count. Assumes a cluster is joined.

    Args:
        base: what is not searched.
        record: read, and added to as trials finish.

    Raises:
        TrainingError: not one trial came to a figure; carries the last error.
    """
    done = record.trials()
    if done:
        on_progress(f"search: goes on after {len(done)} finished trials")
    spent = max((trial.seconds for trial in done), default=0.0)
    left = None if config.trials is None else config.trials - len(done)
    seconds = None if config.minutes is None else 60 * config.minutes - spent
    if (left is None or left > 0) and (seconds is None or seconds > 0):
        _run(inputs, base, config, record, spent, left, seconds, on_progress)
    trials = record.trials()
    if best(trials) is None:
        raise TrainingError(
            f"search: none of {len(trials)} trials came to a figure; the last: {trials[-1].error if trials else 'more minutes are needed'}"
        )
    return tuple(trials)


def _run(
    inputs: FusionInputs,
    base: FusionStageConfig,
    config: SearchConfig,
    record: Record,
    spent: float,
    left: int | None,
    seconds: float | None,
    on_progress: Callable[[str], None],
) -> None:
    done = record.trials()
    scratch = (record.file.parent / "ray").absolute()
    # Left by a search that was killed; it holds nothing that is gone on from.
    shutil.rmtree(scratch, ignore_errors=True)
    # The record is the log; Ray's own would write three files a trial.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    trainable = tune.with_parameters(_trial, inputs=inputs, base=with_values(base, config.space.fixed), config=config)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": config.cpus_per_trial, **({"GPU": config.gpus_per_trial} if config.gpus_per_trial else {})}),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            num_samples=-1 if left is None else left,
            time_budget_s=seconds,
            max_concurrent_trials=config.at_once,
            # A process costs more to start than a small trial to run.
            reuse_actors=True,
            search_alg=_optuna(config, base.loop.seed, done),
            scheduler=ASHAScheduler(
                time_attr="epoch", max_t=base.loop.epochs, grace_period=min(config.grace_epochs, base.loop.epochs), reduction_factor=config.reduction
            ),
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_Keeper(record, spent, config.trials, on_progress)],
            # Ray does not tell a lost node from an error of the trial's own, which is then made as often in vain.
            failure_config=tune.FailureConfig(max_failures=config.retries),
        ),
    )
    # A trial that fails is told once, with its reason, by _Keeper; and Ray looks for figures in the files it has been told not to write.
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        tuner.fit()
    finally:
        logger.setLevel(level)
        shutil.rmtree(scratch, ignore_errors=True)


def _optuna(config: SearchConfig, seed: int, done: Sequence[Trial]) -> OptunaSearch:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, Any] = {}
    for name, values in config.space.searched.items():
        if name in CHOICES:
            space[name] = optuna.distributions.CategoricalDistribution(values)
        else:
            space[name] = optuna.distributions.FloatDistribution(values[0], values[1], log=name in LOGARITHMIC)
    known = [trial for trial in done if trial.validation is not None]
    return OptunaSearch(
        space,
        metric=METRIC,
        mode="min",
        # Another seed after every start: the same would propose again what has been tried.
        seed=seed + len(done),
        points_to_evaluate=[trial.values for trial in known] or None,
        evaluated_rewards=[trial.validation for trial in known] or None,
    )


def _trial(values: dict[str, Any], *, inputs: FusionInputs, base: FusionStageConfig, config: SearchConfig) -> None:
    """One training, in a trial's process; tells Tune after every epoch how good its best one is."""
    torch.set_num_threads(config.threads)
    stage = with_values(base, values)

    def on_epoch(epoch: Epoch, state: LoopState) -> None:
        # Without a validation product there is nothing to choose by; fit refuses such a catalog.
        tune.report({METRIC: epoch.best_validation, "epoch": epoch.epoch})

    train_in_memory(inputs.task(stage), inputs.train, inputs.validation, stage.loop, device=_device(config.gpus_per_trial), on_epoch=on_epoch)


def _device(gpus: float) -> str:
    # A logical GPU may stand for none: torch knows what is there.
    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"


class _Keeper(tune.Callback):
    """Writes finished trials to the record and says so; lives in the driver, where Tune calls it."""

    def __init__(self, record: Record, spent: float, budget: int | None, on_progress: Callable[[str], None]) -> None:
        self._record, self._spent, self._budget, self._print = record, spent, budget, on_progress
        self._started = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks beside its records; what is told to a terminal has no place there.
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        # Not done: cut off by the end of the time or by Ctrl-C, so its figure is not that of a trial.
        if last.get("done") and METRIC in last:
            self._keep(Trial(trial.config, float(last[METRIC]), int(last["epoch"]), self._seconds()))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # Ray copies this file to where trial.get_error() looks for it some time later. The last line of a remote error is the error itself; what
        # stands above is where it came from.
        reason = Path(trial.error_file).read_text(encoding="utf-8").strip().splitlines()[-1]
        self._keep(Trial(trial.config, None, int((trial.last_result or {}).get("epoch", 0)), self._seconds(), reason))

    def _seconds(self) -> float:
        return round(self._spent + time.monotonic() - self._started, 1)

    def _keep(self, trial: Trial) -> None:
        self._record.add(trial)
        kept = self._record.trials()
        values = ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in trial.values.items())
        figure = f"failed: {trial.error}" if trial.validation is None else f"{trial.validation:.5f} after {trial.epochs} epochs"
        first = best(kept)
        self._print(
            f"trial {len(kept)}{'' if self._budget is None else f'/{self._budget}'}: {figure} ({values})"
            + (f"; best {first.validation:.5f}" if first is not None else "")
        )


@dataclass(frozen=True)
class Job:
    """One fusion to be trained and asked: these modalities, these settings, this seed.

    Args:
        train, validation, asked: rows of the products that it learns from, is chosen by and is asked, in what is given to all jobs; None: all.
        objective: in the place of that of all jobs, where it counts products and the job's are fewer.
    """

    name: str
    modalities: tuple[str, ...]
    config: FusionStageConfig
    train: np.ndarray | None = None
    validation: np.ndarray | None = None
    asked: np.ndarray | None = None
    objective: Objective | None = None


def train_each(
    jobs: Sequence[Job], inputs: FusionInputs, asked: FusionData, *, cpus: float, threads: int, gpus: float = 0.0
) -> Iterator[tuple[Job, np.ndarray]]:
    """Train every job's fusion on the cluster -> its logits float32 [n, N] on the products asked, as they become ready. Assumes a cluster.

    Raises TrainingError where a training fails.
    """
    return each(_train_one, jobs, inputs, asked, threads, gpus, cpus=cpus, gpus=gpus, name=lambda job: job.name)


def _train_one(job: Job, inputs: FusionInputs, asked: FusionData, threads: int, gpus: float) -> np.ndarray:
    torch.set_num_threads(threads)
    own = inputs.of(job.modalities).rows(job.train, job.validation)
    if job.objective is not None:
        own = replace(own, objective=job.objective)
    task = own.task(job.config)
    module = FusionStageModule(task)
    module.load_state_dict(train_in_memory(task, own.train, own.validation, job.config.loop, device=_device(gpus)))
    chosen = asked.of(job.modalities)
    if job.asked is not None:
        chosen = chosen.rows(job.asked)
    # Copies: arrays out of the object store are read-only, which torch warns of.
    return fused_logits(module.fusion.eval(), {name: values.copy() for name, values in chosen.vectors.items()}, chosen.present.copy())

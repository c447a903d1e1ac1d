"""`tune`: from a run that `fit` left to a bundle with the settings of stage two that did best on the validation split. Knows the order and no search.

run.json -> prepare (nothing is made again) -> search -> fit with the best trial's settings
"""

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field

from prodcat.distributed import ClusterConfig
from prodcat.fitting import fit, prepare
from prodcat.prediction.bundle import Bundle
from prodcat.profile import FitConfig
from prodcat.run_folder import Progress, open_run
from prodcat.training.search import FusionInputs, SearchConfig, search
from prodcat.training.trials import Record, Trial, best, with_values

FOLDER, PROFILE = "tune", "best.yaml"


class TuneConfig(SearchConfig):
    """Configuration of `tune`."""

    cluster: ClusterConfig = Field(ClusterConfig(), description="of the local Ray, where there is no cluster to join")


@dataclass(frozen=True)
class Tuned:
    """What a search came to.

    Args:
        profile: file with the whole configuration that the bundle was fitted with; `fit --config` takes it.
    """

    bundle: Bundle
    best: Trial
    trials: tuple[Trial, ...]
    profile: Path


def tune(run: Path, config: TuneConfig, on_progress: Progress = print) -> Tuned:
    """Search, write RUN/tune/best.yaml and RUN/bundle. Assumes a cluster is joined. Started again, it goes on after the trials that are finished.

    Trials see the train and validation splits; the test split is not read.

    Raises:
        FeedError: there is no run in the folder.
        TrainingError: no trial came to a figure.
    """
    run = run.absolute()
    catalog, profile = open_run(run, FitConfig)
    prepared = prepare([catalog], run, profile, on_progress=on_progress)
    objective = profile.objective(profile.stage_two.loss, prepared.layout, prepared.parts["train"].targets)
    inputs = FusionInputs(prepared.data("train"), prepared.data("validation"), prepared.vectors.reads, prepared.tree, objective)
    seeded = profile.stage_two.model_copy(update={"loop": profile.stage_two.loop.model_copy(update={"seed": profile.seed})})
    # What is searched stands in the profile with the values of the last search, and must not make this one another.
    neutral = with_values(seeded, {name: values[0] for name, values in config.space.searched.items()})
    record = Record(run / FOLDER, (*prepared.keys, *prepared.vectors.fingerprints.values(), neutral, config.space))
    trials = search(inputs, seeded, config, record, on_progress)
    chosen = best(list(trials))
    assert chosen is not None
    tuned = profile.model_copy(update={"stage_two": with_values(profile.stage_two, {**config.space.fixed, **chosen.values})})
    (run / FOLDER / PROFILE).write_text(yaml.safe_dump(tuned.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    on_progress(f"best of {len(trials)} trials: validation {chosen.validation:.5f}; fitting a bundle with {chosen.values}")
    return Tuned(fit([catalog], run, tuned, on_progress=on_progress), chosen, trials, run / FOLDER / PROFILE)

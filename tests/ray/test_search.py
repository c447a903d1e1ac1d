"""`tune` goes on after a kill and its best trial becomes a bundle; `compare` and ensembles work on a run as `fit` left it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from prodcat.catalog.store import Catalog
from prodcat.cli import app
from prodcat.config import load
from prodcat.contracts import products_of
from prodcat.errors import TrainingError
from prodcat.fitting import fit, prepare
from prodcat.model.fusion import FusionConfig
from prodcat.prediction.bundle import Bundle
from prodcat.profile import FitConfig
from prodcat.run_folder import open_run
from prodcat.taxonomy import Taxonomy
from prodcat.training.fusion_stage import FusionStageConfig
from prodcat.training.in_memory import FusionData, train_in_memory
from prodcat.training.loop import LoopConfig
from prodcat.training.search import FusionInputs, SearchConfig, search
from prodcat.training.trials import Record, SearchSpace, Trial, best

TREE = Taxonomy([(f"a{i}", f"b{i}{j}") for i in range(3) for j in range(4)])
LEAVES = np.flatnonzero(TREE.is_leaf)
BASE = FusionStageConfig(fusion=FusionConfig(width=32, dropout=0.1), loop=LoopConfig(epochs=6, batch_size=64, learning_rate=3e-3))


def synthetic(rows: int, seed: int) -> FusionData:
    generator = np.random.default_rng(seed)
    prototypes = {name: np.random.default_rng(7).normal(size=(len(TREE), 16)) for name in ("text", "image")}
    nodes = generator.choice(LEAVES, rows)
    vectors = {name: (value[nodes] + 0.9 * generator.normal(size=(rows, 16))).astype(np.float32) for name, value in prototypes.items()}
    present = generator.random((rows, 2)) < 0.8
    present[~present.any(axis=1), 0] = True
    return FusionData(vectors, present, TREE.path_indices[nodes])


INPUTS = FusionInputs(synthetic(640, 0), synthetic(128, 1), {"text": "text", "image": "image"}, TREE)
SPACE = SearchSpace(kind=("late", "early", "attention"), width=(16, 32), learning_rate=(1e-3, 1e-2))


def test_a_search_stops_what_lags_behind(tmp_path: Path) -> None:
    # At the lower end nothing is learned in six epochs.
    space = SPACE.model_copy(update={"learning_rate": (1e-7, 1e-2)})
    config = SearchConfig(trials=6, space=space, grace_epochs=1, reduction=2, at_once=2)
    lines: list[str] = []
    trials = search(INPUTS, BASE, config, Record(tmp_path, (BASE, space)), lines.append)
    assert len(trials) == 6
    assert min(trial.epochs for trial in trials) < 6 == max(trial.epochs for trial in trials)
    assert best(list(trials)).epochs == 6
    assert [line.split(":")[0] for line in lines] == [f"trial {number}/6" for number in range(1, 7)]
    # Nothing of Ray's own stays behind.
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]


def test_a_trial_that_fails_is_kept_with_its_reason_and_counts(tmp_path: Path) -> None:
    # At the upper end the loss is no number any more.
    space = SPACE.model_copy(update={"kind": ("late",), "learning_rate": (1e-3, 1e30)})
    trials = search(INPUTS, BASE, SearchConfig(trials=2, space=space, at_once=1), Record(tmp_path, (BASE, space)), print)
    failed = [trial for trial in trials if trial.validation is None]
    assert len(failed) == 1
    assert len(trials) == 2
    assert "lower learning_rate" in failed[0].error
    hopeless = space.model_copy(update={"learning_rate": (1e29, 1e30)})
    with pytest.raises(TrainingError, match=r"none of 1 trials came to a figure; the last: .*the loss became nan"):
        search(INPUTS, BASE, SearchConfig(trials=1, space=hopeless), Record(tmp_path, (BASE, hopeless)), print)


def test_minutes_end_a_search_and_those_of_earlier_starts_count(tmp_path: Path) -> None:
    config = SearchConfig(trials=None, minutes=0.15, space=SPACE, at_once=2)
    record = Record(tmp_path, (BASE, SPACE))
    values = {name: choices[0] for name, choices in SPACE.searched.items()}
    record.add(Trial(values, 0.5, 6, seconds=1.0))
    # Ends, though no number of trials is given; how many came to an end in eight seconds is the machine's affair.
    found = search(INPUTS, BASE, config, record, print)
    assert found[0] == Trial(values, 0.5, 6, seconds=1.0)
    record.add(Trial(values, 0.6, 6, seconds=9.0))
    assert len(search(INPUTS, BASE, config, record, print)) == len(found) + 1


@pytest.fixture(scope="module")
def run(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the whole run: other tests use it as it is."""
    copy = tmp_path_factory.mktemp("tune") / "run"
    shutil.copytree(demo_run, copy)
    return copy


def records(run: Path) -> list[str]:
    files = list((run / "tune").glob("trials-*.jsonl")) if (run / "tune").exists() else []
    assert len(files) <= 1
    return files[0].read_text().split("\n")[:-1] if files else []


def test_a_killed_tune_goes_on_and_the_best_trial_becomes_the_bundle(run: Path) -> None:
    before = Bundle.open(run / "bundle").version
    budget = ["--set", "trials=4", "--set", "at_once=2", "--set", "space.width=[32, 64]"]
    # The child joins the cluster of the tests: what it started there ends with it.
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "prodcat.cli", "tune", str(run), *budget]
    with subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        until = time.monotonic() + 600
        while len(records(run)) < 2 and child.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        alive = child.poll() is None
        os.killpg(child.pid, signal.SIGKILL)
        assert alive, child.stderr.read()
    killed = records(run)
    assert 2 <= len(killed) < 4
    assert Bundle.open(run / "bundle").version == before

    result = CliRunner().invoke(app, ["tune", str(run), *budget, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert f"search: goes on after {len(killed)} finished trials" in result.stderr
    whole = records(run)
    assert whole[: len(killed)] == killed
    assert len(whole) == 4
    tried = [json.loads(line)["values"] for line in whole]
    assert len({json.dumps(values) for values in tried}) == 4
    summary = json.loads(result.stdout)
    best = min((json.loads(line) for line in whole), key=lambda trial: trial["validation"])
    assert summary["best"] == best
    bundle = Bundle.open(run / "bundle")
    assert bundle.version == summary["version"] != before
    fusion = bundle.manifest.training["config"]["stage_two"]["fusion"]
    assert {name: fusion[name] for name in ("kind", "width", "dropout")} == {name: best["values"][name] for name in ("kind", "width", "dropout")}
    assert load(FitConfig, summary["profile"]) == open_run(run, FitConfig)[1]
    assert json.loads((run / "report" / "metrics.json").read_text())["bundle"] == summary["version"]

    again = CliRunner().invoke(app, ["tune", str(run), *budget, "--json"], catch_exceptions=False)
    assert records(run) == whole
    assert json.loads(again.stdout)["version"] == summary["version"]
    assert "report: done before" in again.stderr


def test_compare_writes_a_row_for_every_fusion_and_subset_and_trains_none_twice(run: Path, tmp_path: Path) -> None:
    version = Bundle.open(run / "bundle").version
    arguments = ["compare", str(run), "--out", str(tmp_path), "--set", "seeds=1", "--set", "kinds=[early, late]"]
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert {(row["fusion"], row["modalities"]) for row in found["rows"]} == {
        (kind, subset) for kind in ("early", "late") for subset in ("text", "image", "text+image", "clip", "text+image+clip")
    }
    assert {row["modalities"]: row["features"] for row in found["rows"]}["text+image+clip"] == [
        "text",
        "clip_image",
        "clip_text",
        "image",
        "stage_one",
    ]
    sizes = {row["modalities"]: {r["parameters"] for r in found["rows"] if r["modalities"] == row["modalities"]} for row in found["rows"]}
    assert all(max(each) < 1.06 * min(each) for each in sizes.values())
    for row in found["rows"]:
        low, high = row["hierarchical"]["f1_ci"]
        assert low <= row["hierarchical"]["f1"] <= high
        assert row["hierarchical"]["f1"] == pytest.approx(np.mean(row["by_seed"]), abs=0.02)
    assert len((tmp_path / "comparison.md").read_text().splitlines()) == 4 + len(found["rows"])
    again = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "model " not in again.stderr
    assert json.loads((tmp_path / "comparison.json").read_text()) == found
    assert Bundle.open(run / "bundle").version == version


def test_an_ensemble_over_some_modalities_becomes_a_bundle(demo_run: Path, tiny_settings: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(demo_run, out)
    settings = (*tiny_settings, "stage_two.members=2", "stage_two.modalities=[image, stage_one]", "stage_two.loop.epochs=4")
    lines: list[str] = []
    profile = load(FitConfig, "offline", settings)
    bundle = fit([str(out / "catalog")], out, profile, on_progress=lines.append)
    assert not [line for line in lines if line.startswith(("encoder text", "encoder clip", "features text", "features clip"))]
    assert sorted(path.name for path in (bundle.folder / "encoders").iterdir()) == ["image"]
    assert set(bundle.manifest.encoders) == {"image", "stage_one"}
    weights = load_file(bundle.folder / "stage_two" / "model.safetensors")
    assert {name.split(".")[1] for name in weights} == {"0", "1"}
    assert not torch.equal(weights["members.0.head.linear.weight"], weights["members.1.head.linear.weight"])
    products = list(products_of(Catalog.open(out / "catalog").products()))[:20]
    together, alone = bundle.cascade().classify(products), [bundle.cascade().classify([product])[0] for product in products[:3]]
    assert [answer.path for answer in alone] == [answer.path for answer in together[:3]]
    # The first member is the fusion that would be trained without the second.
    prepared = prepare([str(out / "catalog")], out, profile, on_progress=lines.append)
    seed = profile.stage_two.loop.model_copy(update={"seed": profile.seed})
    inputs = FusionInputs(prepared.data("train"), prepared.data("validation"), prepared.vectors.reads, prepared.tree)
    single = train_in_memory(inputs.task(profile.stage_two), inputs.train, inputs.validation, seed)
    torch.testing.assert_close(weights["members.0.head.linear.weight"], single["fusion.head.linear.weight"], atol=1e-4, rtol=1e-3)

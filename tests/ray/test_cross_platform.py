"""`cross-platform` over the drawn shops: who is left out, what is learned from, and that what is done is not done again."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from prodcat.catalog.store import Catalog
from prodcat.config import load
from prodcat.crossing import models
from prodcat.crossing.config import CrossProfile
from prodcat.crossing.run import cross_platform
from prodcat.crossing.sample import SampleConfig, draw
from prodcat.errors import ConfigError, FeedError, TrainingError
from prodcat.training.search import Job

FEW = (
    "cross_platform.encoders=[text, clip]",
    "cross_platform.min_products=10",
    "cross_platform.min_categories=2",
    "cross_platform.kinds=[early, late]",
    "cross_platform.loop={epochs: 3, batch_size: 32, learning_rate: 0.003}",
    "cross_platform.baseline.iterations=20",
    "cross_platform.priors={}",
    "cross_platform.platform_normalisation=true",
    "cross_platform.self_training={share: 0.5}",
    "cross_platform.labelled=[5]",
    "cross_platform.labelled_draws=2",
)


def profile(tiny_settings: tuple[str, ...], *more: str) -> CrossProfile:
    return load(CrossProfile, "offline", [*tiny_settings, *FEW, *more])


@pytest.fixture(scope="module")
def catalog(demo_run: Path) -> Catalog:
    return Catalog.open(demo_run / "catalog")


@pytest.fixture(scope="module")
def shops(catalog: Catalog) -> list[str]:
    return sorted(set(catalog.products(["platform"])["platform"].to_pylist()))


def test_platforms_as_if_they_were_new(catalog: Catalog, shops: list[str], tiny_settings: tuple[str, ...], tmp_path: Path, ray_cluster: None) -> None:
    related = f"cross_platform.related=[[{shops[0]}, {shops[1]}]]"
    judged = [shops[0], shops[2]]
    settings = profile(tiny_settings, related, f"cross_platform.platforms={judged}")
    told: list[str] = []
    crossed = cross_platform(catalog, tmp_path / "out", settings, on_progress=told.append)
    found = json.loads(crossed.figures.read_text(encoding="utf-8"))
    folds = {(fold["platform"], fold["inputs"]): fold for fold in found["folds"]}
    assert {platform for platform, _ in folds} == set(judged)
    assert {inputs for _, inputs in folds} == {"text", "image", "text+image"}
    assert folds[shops[0], "text"]["left_out"] == sorted(shops[:2])
    for (_, inputs), fold in folds.items():
        assert set(fold["kinds"]) == {"early", "late"}
        for row in fold["kinds"].values():
            parts = [step["part"] for step in row["parts"]]
            told_of = ["image"] if inputs == "image" else ["titles", "words", "descriptions averaged"]
            assert parts == [*told_of, "priors re-estimated"]
            assert row["parts"][-1]["f1"] == row["unseen"]["hierarchical"]["f1"]
            low, high = row["unseen"]["hierarchical"]["f1_ci"]
            assert low <= row["unseen"]["hierarchical"]["f1"] <= high
            assert (row["known"] is None) == (row["unseen_on_test"] is None)
            if row["known"] is not None:
                assert row["known"]["products"] == row["unseen_on_test"]["products"] <= row["unseen"]["products"]
        assert fold["verdict"]["ship"] in ("early", "late")
        shipped = fold["shipped"]
        assert shipped["name"] in fold["kinds"]
        assert [each["labelled"] for each in shipped["labelled"]] == ([] if fold["kinds"][shipped["name"]]["known"] is None else [5])
        for each in shipped["labelled"]:
            assert each["lowest"] <= each["f1"] <= each["highest"]
        assert fold["best_baseline"] in fold["baselines"]
        assert 0 < fold["shipped"]["self_trained"]["figures"]["hierarchical"]["f1"] <= 1
        steps = [step["explains"] for step in fold["shift"]["steps"]]
        assert steps == [None] * len(steps) or sum(steps) == pytest.approx(1)
        assert ("tfidf title" in fold["baselines"]) == (inputs != "image")
    page = crossed.table.read_text(encoding="utf-8")
    assert all(f"| {platform} | {inputs} |" in page for platform, inputs in folds)

    # Once more: nothing is trained again, and the figures are the same.
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "models").iterdir()}
    told.clear()
    again = cross_platform(catalog, tmp_path / "out", settings, on_progress=told.append)
    assert again.found == found
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "models").iterdir()} == before
    assert not [line for line in told if line.startswith(("model", "baseline"))]

    # One that was lost is made again, and is the same.
    fusion = next(file for file in before if file.suffix and "logits" in load_file(file))
    kept = load_file(fusion)["logits"]
    fusion.unlink()
    cross_platform(catalog, tmp_path / "out", settings, on_progress=told.append)
    assert len([line for line in told if line.startswith("model")]) == 1
    assert np.allclose(load_file(fusion)["logits"], kept)


def test_nothing_of_a_left_out_platform_or_its_kin_is_learned_from(
    catalog: Catalog, shops: list[str], tiny_settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    given: list[Job] = []

    def stop(jobs: list[Job], *shared: object, **options: object) -> None:
        given.extend(jobs)
        raise TrainingError("enough")

    monkeypatch.setattr(models, "train_each", stop)
    related = f"cross_platform.related=[[{shops[0]}, {shops[1]}]]"
    settings = profile(tiny_settings, related, "cross_platform.encoders=[text]", "stage_two.loss.balance=logit_adjustment")
    with pytest.raises(TrainingError, match="enough"):
        cross_platform(catalog, tmp_path, settings, on_progress=print)
    sample = draw(catalog, tmp_path / "sample.parquet", settings.cross_platform.sample, settings.seed)
    size = len(sample.keys)
    augmented = np.array([key.partition("/")[0] for key in pq.read_table(tmp_path / "augmented.parquet")["key"].to_pylist()], dtype=object)
    left_out = {f"late, without {shop}": {shop} | (set(shops[:2]) if shop in shops[:2] else set()) for shop in shops}
    for job in given:
        own, shown = job.train[job.train < size], job.train[job.train >= size] - size
        if job.name == "late, with all":
            assert set(sample.platforms[own]) == set(augmented[shown]) == set(shops)
            assert len(own) == len(shown)
        elif out := left_out.get(job.name):
            assert set(sample.platforms[own]) == set(augmented[shown]) == set(shops) - out
            assert not set(sample.platforms[job.validation]) & out
            # The labels that a balanced loss counts are those that are learned from, and no others.
            assert job.objective is not None
            assert sum(job.objective.counts[: len(sample.tree.children())]) == len(own)


def test_an_image_encoder_that_would_learn_from_labels_is_refused(
    catalog: Catalog, tiny_settings: tuple[str, ...], tmp_path: Path, ray_cluster: None
) -> None:
    with pytest.raises(ConfigError, match="image encoder 'image' would be trained from scratch by labels"):
        cross_platform(catalog, tmp_path, profile(tiny_settings, "cross_platform.encoders=[image]"), on_progress=print)
    with pytest.raises(ConfigError, match="no encoder 'txt'; it has text, clip, image"):
        cross_platform(catalog, tmp_path, profile(tiny_settings, "cross_platform.encoders=[txt]"), on_progress=print)


def test_platforms_that_are_not_there_or_too_small(catalog: Catalog, tiny_settings: tuple[str, ...], tmp_path: Path, ray_cluster: None) -> None:
    with pytest.raises(FeedError, match="no labelled product is of the platform 'nobody'"):
        cross_platform(catalog, tmp_path, profile(tiny_settings, "cross_platform.platforms=[nobody]"), on_progress=print)
    with pytest.raises(FeedError, match="no platform has 9999 labelled products"):
        cross_platform(
            catalog, tmp_path, profile(tiny_settings, "cross_platform.min_products=9999", "cross_platform.encoders=[text]"), on_progress=print
        )


def test_the_sample_takes_so_many_of_a_category_and_the_test_split_first(catalog: Catalog, shops: list[str], tmp_path: Path) -> None:
    config = SampleConfig(train_per_category=2, score_products=15)
    sample = draw(catalog, tmp_path / "products.parquet", config, 0, shops[:2])
    split_of = dict(zip(*catalog.splits().select(["key", "split"]).to_pydict().values(), strict=True))
    splits = np.array([split_of[key] for key in sample.keys])
    image = dict(zip(*catalog.products(["key", "image_hash"]).to_pydict().values(), strict=True))
    learned = np.flatnonzero(sample.learned).tolist()
    counts = Counter((sample.platforms[place], sample.nodes[place], image[sample.keys[place]] is None) for place in learned)
    assert max(counts.values()) == 2
    # Products with an image and without are counted apart: neither crowds the other out.
    assert max(Counter((platform, node) for platform, node, _ in counts.elements()).values()) == 4
    assert set(splits[sample.learned]) == {"train"}
    assert set(splits[sample.chosen]) == {"validation"}
    for platform in shops[:2]:
        own = sample.scored & (sample.platforms == platform)
        in_test = sum(split_of[key] == "test" for key in catalog.products(["key"])["key"].to_pylist() if key.startswith(f"{platform}/"))
        assert own.sum() == 15
        assert (splits[own] == "test").sum() == min(15, in_test)
    assert not (sample.scored & np.isin(sample.platforms, shops[2:])).any()
    written = pq.read_table(tmp_path / "products.parquet")
    assert sorted(written["key"].to_pylist()) == sorted(sample.keys)
    titles = dict(zip(written["key"].to_pylist(), written["title"].to_pylist(), strict=True))
    assert [titles[key] for key in sample.keys] == sample.titles
    again = draw(catalog, tmp_path / "again.parquet", config, 0, shops[:2])
    assert (again.keys, again.digest) == (sample.keys, sample.digest)

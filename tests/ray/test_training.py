"""The loop on Ray Train: it learns, two workers learn the same, a killed worker costs an epoch at most, and a shard too large to keep is streamed."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from prodcat.decoding import greedy_nodes, sibling_log_softmax
from prodcat.encoders.encoder import Encoder, EncoderConfig, ImageScratch, ScratchConfig, TextScratch, load, obtain
from prodcat.errors import EncoderError, TrainingError
from prodcat.images import ImageLimits
from prodcat.model.fusion import FusionConfig, Modality
from prodcat.prediction.multimodal_stage import fused_logits
from prodcat.taxonomy import Taxonomy
from prodcat.training.distributed import fit, train_encoder
from prodcat.training.encoders import EncoderTraining
from prodcat.training.fusion_stage import FusionStageTask, fusion_rows, statistics, trained_fusion
from prodcat.training.in_memory import FusionData, train_in_memory
from prodcat.training.loop import Batch, LoopConfig
from prodcat.training.scaling import ScalingConfig

TREE = Taxonomy([(f"a{i}", f"b{i}{j}") for i in range(3) for j in range(4)])
LEAVES = np.flatnonzero(TREE.is_leaf)
LOOP = LoopConfig(epochs=6, batch_size=64, learning_rate=3e-3)
SMALL = ScalingConfig(workers=1, cpus_per_worker=0.5, threads=1, checkpoint_seconds=0.0)


def synthetic(rows: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    prototypes = {name: np.random.default_rng(7).normal(size=(len(TREE), 16)) for name in ("text", "image")}
    nodes = generator.choice(LEAVES, rows)
    vectors = {name: (value[nodes] + 0.7 * generator.normal(size=(rows, 16))).astype(np.float32) for name, value in prototypes.items()}
    present = generator.random((rows, 2)) < 0.8
    present[~present.any(axis=1), 0] = True
    return vectors, present, TREE.path_indices[nodes]


TRAIN, VALIDATION, TEST = synthetic(640, 0), synthetic(128, 1), synthetic(400, 2)


def task(kind: type[FusionStageTask] = FusionStageTask, **more) -> FusionStageTask:
    vectors, present, _ = TRAIN
    modalities = tuple(Modality(name, name, 16, *statistics(vectors[name], present[:, i])) for i, name in enumerate(vectors))
    return kind(modalities, TREE, FusionConfig(width=32, dropout=0.1, input_dropout=0.3), **more)


def tables() -> dict[str, pa.Table]:
    return {"train": fusion_rows(*TRAIN), "validation": fusion_rows(*VALIDATION)}


def accuracy(trained: FusionStageTask, weights: Path) -> float:
    vectors, present, targets = TEST
    logits = fused_logits(trained_fusion(trained, weights), vectors, present)
    return float((greedy_nodes(sibling_log_softmax(logits, TREE), TREE) == targets[:, -1]).mean())


@dataclass(frozen=True)
class Fitted:
    weights: Path
    lines: list[str]


@pytest.fixture(scope="module")
def alone(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """What one worker comes to: the others are held against it."""
    lines: list[str] = []
    weights = fit(task(), tables(), loop=LOOP, scaling=SMALL, out=tmp_path_factory.mktemp("one"), on_progress=lines.append)
    return Fitted(weights, lines)


def test_one_worker_learns_and_two_learn_as_well(alone: Fitted, tmp_path: Path) -> None:
    together = fit(task(), tables(), loop=LOOP, scaling=SMALL.model_copy(update={"workers": 2}), out=tmp_path / "two")
    assert [line.split(",")[0] for line in alone.lines] == [f"stage two: epoch {epoch}/6" for epoch in range(1, 7)]
    assert accuracy(task(), alone.weights) > 0.85
    assert accuracy(task(), together) == pytest.approx(accuracy(task(), alone.weights), abs=0.06)


def test_a_trial_in_memory_is_what_is_trained_here(alone: Fitted) -> None:
    here = train_in_memory(task(), FusionData(*TRAIN), FusionData(*VALIDATION), LOOP)
    there = load_file(alone.weights)
    assert here.keys() == there.keys()
    for name, value in there.items():
        torch.testing.assert_close(here[name], value, atol=1e-5, rtol=1e-4)


HERE = SMALL.model_copy(update={"workers": 0})


@dataclass(frozen=True)
class Broken(FusionStageTask):
    """Fails in the fourth epoch, once."""

    marks: Path = Path()

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        with (self.marks / "steps").open("a") as stream:
            stream.write("step\n")
        if len((self.marks / "steps").read_text().splitlines()) == 35:
            raise ArithmeticError("broken off")
        return super().loss(module, batch)


def test_without_workers_the_driver_trains_the_same_and_goes_on_where_it_was_broken_off(alone: Fitted, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    broken, lines = task(Broken, marks=tmp_path), []
    with pytest.raises(ArithmeticError, match="broken off"):
        fit(broken, tables(), loop=LOOP, scaling=HERE, out=tmp_path / "here", on_progress=lines.append)
    assert torch.get_num_threads() == threads
    assert len(lines) == 3
    weights = fit(broken, tables(), loop=LOOP, scaling=HERE, out=tmp_path / "here", on_progress=lines.append)
    assert [line.split(",")[0] for line in lines] == [f"stage two: epoch {epoch}/6" for epoch in range(1, 7)]
    for name, value in load_file(alone.weights).items():
        torch.testing.assert_close(load_file(weights)[name], value, atol=1e-5, rtol=1e-4)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["model.safetensors"]


@dataclass(frozen=True)
class Killed(FusionStageTask):
    """Its worker is killed in the fourth epoch, once; every loss leaves a mark."""

    marks: Path = Path()

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        with (self.marks / "steps").open("a") as stream:
            stream.write("step\n")
        if len((self.marks / "steps").read_text().splitlines()) > 35 and not (self.marks / "killed").exists():
            (self.marks / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(module, batch)


def test_a_killed_worker_costs_an_epoch_or_two(alone: Fitted, tmp_path: Path) -> None:
    killed = task(Killed, marks=tmp_path)
    resumed = fit(killed, tables(), loop=LOOP, scaling=SMALL, out=tmp_path / "resumed")
    assert (tmp_path / "killed").exists()
    steps = len((tmp_path / "steps").read_text().splitlines())
    # 10 steps an epoch, 6 epochs; again at most the epoch it died in, and the one before, whose checkpoint Ray may not have taken note of yet.
    assert 60 < steps <= 80
    for name, value in load_file(alone.weights).items():
        torch.testing.assert_close(load_file(resumed)[name], value, atol=1e-5, rtol=1e-4)


def test_a_shard_too_large_to_keep_is_streamed(ray_cluster: None, tmp_path: Path) -> None:
    streamed = fit(task(), tables(), loop=LOOP, scaling=SMALL.model_copy(update={"cache_gb": 0.0}), out=tmp_path / "streamed")
    assert accuracy(task(), streamed) > 0.85


def test_nothing_to_train_on_is_said(ray_cluster: None, tmp_path: Path) -> None:
    nothing = fusion_rows(*TRAIN).slice(0, 0)
    with pytest.raises(TrainingError, match="stage two: there is no training product"):
        fit(task(), {"train": nothing}, loop=LOOP, scaling=SMALL, out=tmp_path)


def spread(encoder: Encoder, texts: list[str], labels: np.ndarray) -> float:
    """How far the means of the labels' vectors are apart, in standard deviations around them."""
    tower = encoder.towers["text"]
    vectors = tower.encode(tower.prepare(texts))
    means = np.stack([vectors[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = np.concatenate([vectors[labels == label] - mean for label, mean in zip(np.unique(labels), means, strict=True)])
    return float(np.linalg.norm(means - means.mean(axis=0), axis=1).mean() / within.std())


def test_a_text_encoder_learns_its_language_and_then_the_categories(ray_cluster: None, tmp_path: Path) -> None:
    tree = Taxonomy([("a", "shirt"), ("a", "shoe"), ("b",)])
    texts = [f"{colour} {what}" for colour in ("red", "green", "blue", "black") for what in ("shirt", "shoe", "watch")] * 4
    targets = tree.targets([("a", "shirt"), ("a", "shoe"), ("b",)] * 16)
    scratch = ScratchConfig(text=TextScratch(layers=1, width=32, heads=2, vocabulary=300))
    obtain(EncoderConfig(family="roberta", scratch=scratch, max_tokens=8), tmp_path / "untrained", texts)
    loop = LoopConfig(epochs=2, batch_size=8, learning_rate=3e-3)
    lines: list[str] = []

    def trained(training: EncoderTraining, folder: Path) -> None:
        train_encoder(
            folder,
            tmp_path / "ready",
            training,
            product_files=[],
            keys=[f"shop/{number}" for number in range(len(texts))],
            texts=texts,
            targets=targets,
            tree=tree,
            limits=ImageLimits(),
            scaling=HERE,
            work=tmp_path / "training",
            by_categories=tmp_path / "training" / "by_categories",
            name="words",
            on_progress=lines.append,
        )

    trained(EncoderTraining(loop=loop, categories=loop.model_copy(update={"epochs": 12})), tmp_path / "untrained")
    assert [line.split(":")[0] for line in lines] == ["words"] * 2 + ["words, by categories"] * 12
    assert (tmp_path / "training" / "by_categories").is_dir()
    fingerprints = {load(folder).fingerprint for folder in (tmp_path / "untrained", tmp_path / "training" / "language", tmp_path / "ready")}
    assert len(fingerprints) == 3
    language, ready = (spread(load(folder), texts, targets[:, 1]) for folder in (tmp_path / "training" / "language", tmp_path / "ready"))
    assert ready > 2 * language

    pixels = ScratchConfig(image=ImageScratch(size=16, patch=8, layers=1, width=16, heads=2))
    obtain(EncoderConfig(family="vit", scratch=pixels), tmp_path / "vit", [])
    with pytest.raises(EncoderError, match="`categories` is for text encoders"):
        trained(EncoderTraining(categories=loop), tmp_path / "vit")

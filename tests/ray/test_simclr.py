"""SimCLR on Ray Train: negatives of all workers, from a catalog's photos to an encoder folder that embeds, and on from where a worker was killed."""

import hashlib
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from PIL import Image
from safetensors.torch import load_file

from prodcat import contracts
from prodcat.encoders import features
from prodcat.encoders.distributed import EmbedConfig, embed
from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, load, obtain
from prodcat.errors import EncoderError, TrainingError
from prodcat.images import ImageLimits
from prodcat.training.distributed import fit, image_rows
from prodcat.training.loop import Batch, LoopConfig
from prodcat.training.scaling import ScalingConfig
from prodcat.training.simclr.distributed import measure_noise, train_feature_simclr, train_simclr
from prodcat.training.simclr.features import FeatureSimclrConfig
from prodcat.training.simclr.images import SimclrConfig, SimclrTask
from prodcat.training.simclr.whitening import WhiteningConfig, whitening

# Ray Data warns of its own defaults when it makes its first context.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data.*")

SCRATCH = ScratchConfig(image=ImageScratch(size=16, patch=8, layers=2, width=16, heads=2))
PHOTOS = 12
SMALL = ScalingConfig(workers=1, cpus_per_worker=0.5, threads=1, checkpoint_seconds=0.0)
HERE = SMALL.model_copy(update={"workers": 0})
CONFIG = SimclrConfig(loop=LoopConfig(epochs=3, batch_size=8, learning_rate=1e-3), frozen_blocks=1, hidden=16, dim=8)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit") / "untrained"
    obtain(EncoderConfig(family="vit", scratch=SCRATCH), folder, [])
    return folder


@pytest.fixture(scope="module")
def product_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """22 products in two files; 3 has no image, 5 one that does not decode."""
    rows = []
    for number in range(22):
        pixels = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).resize((40, 40)).save(stream, "PNG")
        image = {3: None, 5: b"\xff\xd8\xff not a photo"}.get(number, stream.getvalue())
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        row = {"key": f"shop/{number}", "platform": "shop", "product_id": str(number), "title": f"number {number}", "image": image}
        rows.append(row | {"digest": digest, "source": "feed", "row": number + 1})
    folder = tmp_path_factory.mktemp("catalog")
    files = [folder / "part-0.parquet", folder / "part-1.parquet"]
    for file, half in zip(files, (rows[:12], rows[12:]), strict=True):
        pq.write_table(contracts.rows_to_table(half, contracts.PRODUCTS), file)
    return [str(file) for file in files]


def gradient(folder: Path, worker: int, workers: int, meeting: Path | None) -> dict[str, np.ndarray]:
    """What DDP makes of this worker's share of the photos: the mean of the workers' gradients."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (PHOTOS, 16, 16, 3), dtype=torch.uint8, generator=generator)
    if meeting is not None:
        torch.distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=worker, world_size=workers)
    try:
        torch.manual_seed(0)
        # As in validation: no random views, which would differ between the two sides.
        module = SimclrTask(folder, CONFIG, "simclr").build().eval()
        wrapped = module if meeting is None else torch.nn.parallel.DistributedDataParallel(module)
        share = slice(worker * PHOTOS // workers, (worker + 1) * PHOTOS // workers)
        wrapped({"image": images[share]}).backward()
        return {name: value.grad.numpy() for name, value in module.named_parameters() if value.grad is not None}
    finally:
        if meeting is not None:
            torch.distributed.destroy_process_group()


def test_two_workers_give_the_gradient_of_one_big_batch(vit: Path, tmp_path: Path) -> None:
    remote = ray.remote(num_cpus=0.5)(gradient)
    together = ray.get([remote.remote(vit, worker, 2, tmp_path / "meeting") for worker in range(2)])
    whole = gradient(vit, 0, 1, None)
    # Half of the negatives would give another one.
    halves = [gradient(vit, worker, 2, None) for worker in range(2)]
    assert together[0].keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(together[0][name], value, atol=1e-6, rtol=1e-3, err_msg=name)
        np.testing.assert_array_equal(together[0][name], together[1][name])
    assert max(float(np.abs((halves[0][name] + halves[1][name]) / 2 - value).max()) for name, value in whole.items()) > 1e-3


def trained(vit: Path, product_files: list[str], out: Path, scaling: ScalingConfig = SMALL, say: Callable[[str], None] = lambda line: None) -> Path:
    keys = [f"shop/{number}" for number in range(20)]
    return train_simclr(vit, out, CONFIG, product_files=product_files, keys=keys, limits=ImageLimits(), scaling=scaling, seed=0, on_progress=say)


@dataclass(frozen=True)
class Alone:
    out: Path
    ready: Path
    lines: list[str]


@pytest.fixture(scope="module")
def alone(ray_cluster: None, vit: Path, product_files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """What one worker comes to: the others are held against it."""
    out, lines = tmp_path_factory.mktemp("alone"), list[str]()
    return Alone(out, trained(vit, product_files, out, say=lines.append), lines)


def test_from_photos_to_an_encoder_that_embeds(alone: Alone, vit: Path, product_files: list[str], tmp_path: Path) -> None:
    assert [line.split(",")[0] for line in alone.lines] == [f"simclr: epoch {epoch}/3" for epoch in (1, 2, 3)]
    assert load(alone.ready).fingerprint != load(vit).fingerprint
    # What has ended is not repeated.
    assert trained(vit, product_files, alone.out, say=alone.lines.append) == alone.ready
    assert len(alone.lines) == 3

    together = trained(vit, product_files, tmp_path / "two", SMALL.model_copy(update={"workers": 2}))
    sets = embed(product_files, {"one": alone.ready, "two": together}, tmp_path / "features", EmbedConfig(threads=1), limits=ImageLimits())
    for stored in sets.values():
        vectors, present = features.read(stored, [f"shop/{number}" for number in range(22)])
        assert present.sum() == 20
        assert np.isfinite(vectors).all()


def test_the_same_seed_gives_the_same_encoder(alone: Alone, vit: Path, product_files: list[str], tmp_path: Path) -> None:
    """On a worker and in this process."""
    assert load(trained(vit, product_files, tmp_path, HERE)).fingerprint == load(alone.ready).fingerprint


@dataclass(frozen=True)
class Killed(SimclrTask):
    """Its worker is killed in the third epoch, once."""

    marks: Path = Path()

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        with (self.marks / "steps").open("a") as stream:
            stream.write("step\n")
        if len((self.marks / "steps").read_text().splitlines()) > 5 and not (self.marks / "killed").exists():
            (self.marks / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(module, batch)


def test_a_killed_worker_goes_on_from_its_checkpoint(alone: Alone, vit: Path, product_files: list[str], tmp_path: Path) -> None:
    killed = Killed(vit, CONFIG, "simclr", tmp_path)
    image = load(vit).towers["image"].image
    rows = pa.table({"key": [f"shop/{number}" for number in range(20)]})
    data = image_rows(product_files, rows, image, ImageLimits())
    resumed = fit(killed, {"train": data}, loop=CONFIG.loop, scaling=SMALL, out=tmp_path / "resumed")
    assert (tmp_path / "killed").exists()
    # 2 steps an epoch, 3 epochs; again at most the epoch it died in, and the one before, whose checkpoint Ray may not have taken note of yet.
    assert 6 < len((tmp_path / "steps").read_text().splitlines()) <= 10
    for name, value in load_file(alone.out / "training" / "model.safetensors").items():
        torch.testing.assert_close(load_file(resumed)[name], value, atol=1e-5, rtol=1e-4)


def test_image_and_text_come_together_and_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    meant = generator.normal(size=(64, 3))
    vectors = {
        "image": (meant @ generator.normal(size=(3, 12))).astype(np.float32),
        "text": (meant @ generator.normal(size=(3, 8))).astype(np.float32),
    }
    present = {"image": np.arange(64) > 3, "text": np.ones(64, bool)}
    for there in present.values():
        there[-1] = False
    config = FeatureSimclrConfig(loop=LoopConfig(epochs=12, batch_size=16, learning_rate=1e-2), hidden=16, dim=8, projected=8)
    lines: list[str] = []
    encoder = train_feature_simclr(vectors, present, config, out=tmp_path / "one", scaling=HERE, seed=0, on_progress=lines.append)
    joint = encoder.of(vectors, present)
    assert joint.shape == (64, 8)
    np.testing.assert_allclose(np.linalg.norm(joint[:-1], axis=1), 1, atol=1e-5)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert losses[-1] < losses[0]
    again = train_feature_simclr(vectors, present, config, out=tmp_path / "two", scaling=HERE, seed=0)
    np.testing.assert_array_equal(again.of(vectors, present), joint)
    # Another run finds it, and a product by itself lies where it lay among the others.
    kept = train_feature_simclr(vectors, present, config, out=tmp_path / "one", scaling=HERE, seed=0)
    some = kept.of({name: values[:9] for name, values in vectors.items()}, {name: there[:9] for name, there in present.items()})
    np.testing.assert_allclose(some, joint[:9], atol=1e-6)
    with pytest.raises(TrainingError, match="there is no training product"):
        train_feature_simclr(vectors, dict.fromkeys(vectors, np.zeros(64, bool)), config, out=tmp_path / "none", scaling=HERE, seed=0)


def test_the_noise_of_views_is_summed_over_the_catalog(vit: Path, product_files: list[str], tmp_path: Path) -> None:
    keys = [f"shop/{number}" for number in range(22)]
    found = [
        measure_noise(vit, WhiteningConfig(count=3), product_files=product_files, keys=keys, limits=ImageLimits(), seed=seed) for seed in (0, 0, 1)
    ]
    # 20 of the 22 have a photo.
    assert [noise.freedom for noise in found] == [40, 40, 40]
    np.testing.assert_array_equal(found[0].within, found[1].within)
    assert not np.array_equal(found[0].within, found[2].within)
    assert whitening(found[0], 0.1).shape == found[0].within.shape
    nobody = measure_noise(vit, WhiteningConfig(), product_files=product_files, keys=[], limits=ImageLimits(), seed=0)
    assert nobody.freedom == 0


def test_what_reads_no_images_is_refused(product_files: list[str], tmp_path: Path) -> None:
    obtain(EncoderConfig(family="roberta", max_tokens=8), tmp_path / "roberta", ["red shirt"])
    with pytest.raises(EncoderError, match="reads none"):
        trained(tmp_path / "roberta", product_files, tmp_path / "out")
    with pytest.raises(EncoderError, match="reads none"):
        measure_noise(tmp_path / "roberta", WhiteningConfig(), product_files=product_files, keys=["shop/1"], limits=ImageLimits(), seed=0)

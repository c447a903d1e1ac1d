"""SimCLR on Ray: images and stored vectors through training/distributed.py, and the noise of an image tower as a sum over Ray Data blocks."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from prodcat.encoders.encoder import load
from prodcat.encoders.inputs import MANIFEST
from prodcat.errors import EncoderError
from prodcat.images import ImageLimits
from prodcat.training.distributed import fit, image_rows
from prodcat.training.encoders import save_trained
from prodcat.training.scaling import ScalingConfig
from prodcat.training.simclr.features import JOINT, NAME, FeatureSimclrConfig, FeatureSimclrTask, JointEncoder, means_of, prepared
from prodcat.training.simclr.images import SimclrConfig, SimclrTask
from prodcat.training.simclr.whitening import Scatter, WhiteningConfig, scatter
from prodcat.training.tables import fixed_rows


def train_simclr(
    source: Path,
    out: Path,
    config: SimclrConfig,
    *,
    product_files: Sequence[str],
    keys: Sequence[str],
    limits: ImageLimits,
    scaling: ScalingConfig,
    seed: int,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train the image tower of an encoder folder on the photos of some products; those without a photo are left out.

    Args:
        source: a vit or clip folder; stays as it is.
        out: folder for the trained encoder and for what training leaves; a run that was broken off goes on from there, one that ended is not
            repeated, so other settings need another folder.
        product_files: PRODUCTS.
        keys: of the products to learn from.

    Returns:
        The trained encoder's folder, in `out`.

    Raises:
        EncoderError: the encoder reads no images, or has no blocks to freeze or to learn.
        TrainingError: there is no product, or training failed.
    """
    ready = out / "encoder"
    if (ready / MANIFEST).is_file():
        return ready
    training = config.model_copy(update={"loop": config.loop.model_copy(update={"seed": seed})})
    task = SimclrTask(source, training, "simclr")
    encoder = load(source)
    # What cannot be built shall say so here, not in a worker that is started again and again.
    task.build()
    image = task.image(encoder)
    assert image is not None
    rows = pa.table({"key": pa.array(list(keys), pa.string())})
    data: Any = image_rows(product_files, rows, image, limits) if len(keys) else rows
    weights = fit(task, {"train": data}, loop=training.loop, scaling=scaling, out=out / "training", on_progress=on_progress)
    save_trained(task, weights, ready)
    return ready


def train_feature_simclr(
    vectors: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    config: FeatureSimclrConfig,
    *,
    out: Path,
    scaling: ScalingConfig,
    seed: int,
    on_progress: Callable[[str], None] = lambda line: None,
) -> JointEncoder:
    """Learn one vector a product from its stored vectors of several modalities.

    Args:
        vectors: modality -> float32 [n, d_m]; any finite values where absent.
        present: modality -> bool [n].
        out: folder for the encoder and what training leaves, as in `train_simclr`.

    Raises:
        TrainingError: no product has a modality, or training failed.
    """
    if (out / JOINT).is_file():
        return JointEncoder.load(out)
    training = config.model_copy(update={"loop": config.loop.model_copy(update={"seed": seed})})
    task = FeatureSimclrTask({name: values.shape[1] for name, values in vectors.items()}, training, NAME)
    there = np.stack([present[name] for name in vectors], axis=1)
    means = means_of(vectors, there)
    some = np.asarray(there.any(axis=1))
    table = fixed_rows({name: values[some] for name, values in prepared(vectors, there, means).items()})
    weights = fit(task, {"train": table}, loop=training.loop, scaling=scaling, out=out, on_progress=on_progress)
    made = JointEncoder(task, weights, means)
    made.save(out)
    return made


def measure_noise(
    source: Path,
    config: WhiteningConfig,
    *,
    product_files: Sequence[str],
    keys: Sequence[str],
    limits: ImageLimits,
    seed: int,
) -> Scatter:
    """What an image tower's vectors vary in between views of one photo, for whitening.whitened.

    Args:
        keys: of the products whose photos are looked at; of more than config.most a random part.

    Raises:
        EncoderError: the encoder reads no images.
    """
    encoder = load(source)
    tower: Any = encoder.towers.get("image")
    if tower is None:
        raise EncoderError(f"{source}: whitening looks at views of images, and a {encoder.family} encoder reads none; give a vit or clip folder")
    chosen = np.random.default_rng(seed).permutation(np.array(list(keys), dtype=object))[: config.most]
    total = Scatter(np.zeros((tower.dim, tower.dim)), 0)
    if not len(chosen):
        return total
    pixels = image_rows(product_files, pa.table({"key": pa.array(chosen.tolist(), pa.string())}), tower.image, limits)
    noise = pixels.map_batches(
        _Noise,
        fn_constructor_args=(source, config, seed),
        batch_size=128,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=0.5,
    )
    # As the photos lie in the files, not as they are ready: the same seed shall give the same sum.
    noise.context.execution_options.preserve_order = True
    for row in noise.take_all():
        total += Scatter(row["within"], int(row["freedom"]))
    return total


class _Noise:
    """A block of photos -> one row with their scatter; the actor holds the encoder."""

    def __init__(self, source: Path, config: WhiteningConfig, seed: int) -> None:
        self._encoder, self._config, self._seed = load(source), config, seed

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        pixels = block["image"]
        # A block's views depend on its photos alone, not on the blocks before it.
        found = scatter(self._encoder, pixels, self._config, self._seed + zlib.crc32(pixels.tobytes()))
        return {"within": found.within[None], "freedom": np.array([found.freedom])}

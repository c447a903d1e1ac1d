"""Runs a Task on Ray Train workers over shards of Ray Data datasets. All of the learning is in loop.py; here are shards, DDP, checkpoints, progress.

With no workers, training runs in the driver's own process (in_process.py).
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device, prepare_model
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors.torch import save_file
from torch import Tensor, nn

from prodcat.encoders.encoder import load
from prodcat.encoders.inputs import ImageInput
from prodcat.errors import EncoderError, ImageError, TrainingError
from prodcat.images import ImageLimits, decode
from prodcat.taxonomy import Taxonomy
from prodcat.training.encoders import EncoderTask, EncoderTraining, save_trained, token_rows
from prodcat.training.in_process import CHECKPOINT, fit_here
from prodcat.training.loop import Epoch, LoopConfig, LoopState, Task, train
from prodcat.training.scaling import ScalingConfig
from prodcat.training.shards import Shard
from prodcat.training.tables import fixed_rows


def fit(
    task: Task,
    datasets: dict[str, Any],
    *,
    loop: LoopConfig,
    scaling: ScalingConfig,
    out: Path,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train `task` on datasets["train"], choose the epoch on datasets["validation"] (may be missing), write the best state.

    Args:
        datasets: Ray Data datasets or pyarrow tables with one column a batch key; columns are numbers or fixed-shape tensors.
        out: folder; gets model.safetensors and Ray's own records. A run that was broken off goes on from there, one that ended is not repeated.

    Returns:
        out / "model.safetensors".

    Raises:
        TrainingError: no training product, or training failed more often than scaling.max_failures allows; carries the worker's error.
        Exception: with no workers, whatever training raises.
    """
    target = out / "model.safetensors"
    if target.exists():
        return target
    shards = {name: _dataset(data) for name, data in datasets.items() if not (hasattr(data, "num_rows") and data.num_rows == 0)}
    if "train" not in shards:
        raise TrainingError(f"{task.name}: there is no training product; give a catalog with more labelled products")
    out.mkdir(parents=True, exist_ok=True)
    if scaling.workers == 0:
        best = fit_here(task, shards, loop=loop, scaling=scaling, out=out, on_progress=on_progress)
    else:
        best = _on_workers(task, shards, loop, scaling, out, on_progress)
    part = target.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in best.items()}, part)
    return part.rename(target)


def _on_workers(
    task: Task, shards: dict[str, Any], loop: LoopConfig, scaling: ScalingConfig, out: Path, on_progress: Callable[[str], None]
) -> dict[str, Tensor]:
    """-> the state of the best epoch."""
    # With the driver: it may go when that goes, and not with a node that is lost.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    progress = _Progress.options(num_cpus=0, scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    # How often Ray looks at its workers; a worker waits for it at every report, and at the end. Ray's own two seconds are longer than the epochs of a
    # small model.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"task": task, "loop": loop, "scaling": scaling, "progress": progress},
        scaling_config=ray.train.ScalingConfig(
            num_workers=scaling.workers if scaling.min_workers is None else (scaling.min_workers, scaling.workers),  # type: ignore[arg-type]
            use_gpu=scaling.use_gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": 1} if scaling.use_gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name="train",
            storage_path=str(out.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=scaling.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
        datasets=shards,
        # A single worker reads the whole itself: every split costs a process that does nothing but hand out blocks.
        dataset_config=ray.train.DataConfig(datasets_to_split="all" if scaling.workers > 1 else [], execution_options=_in_order()),
    )
    try:
        with _Forwarded(progress, on_progress):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise TrainingError(f"{task.name}: training failed: {error}") from error
    if result.checkpoint is None:
        raise TrainingError(f"{task.name}: training ended without a checkpoint; see {out / 'train'}")
    with result.checkpoint.as_directory() as folder:
        best: dict[str, Tensor] = torch.load(Path(folder) / CHECKPOINT, weights_only=True)["best"]
    return best


def image_rows(product_files: Sequence[str], rows: pa.Table, image: ImageInput, limits: ImageLimits) -> Any:
    """Products with an image -> a Ray dataset of pixels beside what `rows` has for them.

    Args:
        product_files: PRODUCTS.
        rows: `key` and further columns of numbers; products that are not in it are left out.
        image: how pixels are prepared.

    Returns:
        Dataset with `image` uint8 [n, S, S, 3] and the further columns.
    """
    # A closure would be pickled into every task; the object store holds it once.
    look_up = _Pixels(ray.put(rows.combine_chunks()), image, limits)
    return ray.data.read_parquet(list(product_files), columns=["key", "image"]).map_batches(
        look_up, batch_size=128, batch_format="pyarrow", num_cpus=0.5
    )


class _Pixels:
    """Decodes the images of a batch and joins them with rows by key."""

    def __init__(self, rows: Any, image: ImageInput, limits: ImageLimits) -> None:
        self._rows, self._image, self._limits = rows, image, limits

    def __call__(self, products: pa.Table) -> dict[str, np.ndarray]:
        rows = ray.get(self._rows)
        places = pc.index_in(products["key"], value_set=rows["key"]).to_pylist()
        pixels, taken = [], []
        for data, place in zip(products["image"].to_pylist(), places, strict=True):
            if data is None or place is None:
                continue
            try:
                pixels.append(self._image.prepare(decode(data, self._limits, at_least=self._image.at_least)))
            except ImageError:
                # Refused where it is embedded, too, and counted there.
                continue
            taken.append(place)
        size = self._image.size
        batch = {"image": np.stack(pixels) if pixels else np.empty((0, size, size, 3), np.uint8)}
        joined = rows.take(pa.array(taken, pa.int64()))
        for name in rows.column_names:
            if name != "key":
                batch[name] = joined[name].combine_chunks().to_numpy_ndarray() if taken else rows[name].combine_chunks().to_numpy_ndarray()[:0]
        return batch


def train_encoder(
    untrained: Path,
    ready: Path,
    training: EncoderTraining,
    *,
    product_files: Sequence[str],
    keys: Sequence[str],
    texts: Sequence[str | None],
    targets: np.ndarray,
    tree: Taxonomy,
    limits: ImageLimits,
    scaling: ScalingConfig,
    work: Path,
    by_categories: Path,
    name: str,
    on_progress: Callable[[str], None],
) -> None:
    """Train an encoder folder on these training products; the last epoch counts, for there is nothing to choose it on but products
    that stage two is yet to be chosen on.

    Args:
        keys, texts, targets: n training products: key, text if any, int32 [n, D] label nodes.
        ready: the trained encoder's folder.
        work: folder for what training leaves; goes on from there if it was broken off.
        by_categories: the same for what `training.categories` asks for.

    Raises:
        EncoderError: training.categories for an encoder that reads no text alone.
    """
    encoder = load(untrained)
    if training.categories is not None and encoder.family != "roberta":
        raise EncoderError(f"{name}: `categories` is for text encoders (roberta); this is a {encoder.family}, set it to null")
    task = EncoderTask(untrained, tree, training, name)
    if encoder.family == "vit":
        table = fixed_rows({"targets": targets}).append_column("key", pa.array(list(keys)))
    else:
        rows = [row for row, text in enumerate(texts) if text]
        tokens = token_rows(encoder, [texts[row] or "" for row in rows])
        table = fixed_rows({"input_ids": tokens}).append_column("key", pa.array([keys[row] for row in rows]))
    if encoder.family == "roberta":
        data: Any = table.drop_columns(["key"])
    else:
        image = task.image(encoder)
        assert image is not None
        data = image_rows(product_files, table, image, limits)
    weights = fit(task, {"train": data}, loop=training.loop, scaling=scaling, out=work, on_progress=on_progress)
    if training.categories is None:
        save_trained(task, weights, ready)
        return
    save_trained(task, weights, work / "language")
    task = EncoderTask(work / "language", tree, training, f"{name}, by categories", by_categories=True)
    data = fixed_rows({"input_ids": tokens, "targets": targets[rows]})
    weights = fit(task, {"train": data}, loop=training.categories, scaling=scaling, out=by_categories, on_progress=on_progress)
    save_trained(task, weights, ready)


def _in_order() -> Any:
    """Blocks as they lie in the files, not as they are ready: the same seed shall see the same batches."""
    options = ray.train.DataConfig.default_ingest_options()
    options.preserve_order = True
    return options


def _dataset(data: Any) -> Any:
    return data if isinstance(data, ray.data.Dataset) else ray.data.from_arrow(data)


def _worker(settings: dict[str, Any]) -> None:
    task, loop, scaling = settings["task"], settings["loop"], settings["scaling"]
    torch.set_num_threads(scaling.threads)
    context = ray.train.get_context()
    workers, rank = context.get_world_size(), context.get_world_rank()
    device = get_device()
    batch_size = max(1, loop.batch_size // workers)
    train_data = Shard(_own("train"), batch_size, scaling.cache_gb, loop.seed, shuffle=True)
    validation_data = Shard(_own("validation"), batch_size, scaling.cache_gb, loop.seed, shuffle=False)

    def total(sums: Tensor) -> Tensor:
        if workers == 1:
            return sums
        moved = sums.to(device)
        torch.distributed.all_reduce(moved)
        return moved.to(sums.device)

    # Every worker must report in the same epochs, so the first worker's clock decides for all.
    written = total(torch.tensor(time.monotonic() if rank == 0 else 0.0, dtype=torch.float64))

    def on_epoch(epoch: Epoch, state: LoopState) -> None:
        if rank == 0:
            settings["progress"].add.remote(str(epoch))
        now = torch.tensor(time.monotonic() if rank == 0 else 0.0, dtype=torch.float64)
        now = total(now)
        last = epoch.epoch == epoch.epochs or (loop.patience > 0 and state.stale >= loop.patience)
        if not last and float(now) - float(written) < scaling.checkpoint_seconds:
            return
        written.copy_(now)
        metrics = {
            "epoch": epoch.epoch,
            "train_loss": epoch.train_loss,
            "validation": epoch.validation,
            "samples_per_second": epoch.samples_per_second,
        }
        if rank > 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state.as_dict(), Path(folder) / CHECKPOINT)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    train(
        task,
        train_data.batches,
        lambda: validation_data.batches(0),
        steps_per_epoch=train_data.steps,
        config=loop,
        device=device,
        wrap=_wrap,
        total=total,
        resume=_checkpoint(),
        on_epoch=on_epoch,
        rank=rank,
    )


def _own(name: str) -> Any:
    """This worker's part of a dataset; None where there is none of the name."""
    try:
        return ray.train.get_dataset_shard(name)
    except KeyError:
        return None


def _wrap(module: nn.Module) -> nn.Module:
    if ray.train.get_context().get_world_size() == 1:
        return module
    # Absent modalities and unlabelled levels leave parameters without a gradient in some batches.
    return prepare_model(module, move_to_device=False, parallel_strategy_kwargs={"find_unused_parameters": True})


def _checkpoint() -> dict[str, Any] | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state: dict[str, Any] = torch.load(Path(folder) / CHECKPOINT, weights_only=True)
    return state


@ray.remote
class _Progress:
    """Lines from the workers for the driver to print."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


class _Forwarded:
    """While inside: prints what workers report, from a thread, because TorchTrainer.fit blocks."""

    def __init__(self, progress: Any, on_progress: Callable[[str], None]) -> None:
        self._progress, self._print = progress, on_progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._done.wait(1.0):
            self._forward()

    def _forward(self) -> None:
        for line in ray.get(self._progress.take.remote()):
            self._print(line)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        self._forward()
        ray.kill(self._progress)

"""Runs a Task in this process: what training on workers is to large catalogs, without the quarter of a minute that workers take to start.

The loop, the order of products and the random numbers are those of one worker of distributed.py, and so is what comes of it. An error arrives where
it happened, as itself, so this is also where a debugger can be set.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prodcat.training.loop import Epoch, LoopConfig, LoopState, Task, train
from prodcat.training.scaling import ScalingConfig
from prodcat.training.shards import Shard

CHECKPOINT = "state.pt"


def fit_here(
    task: Task, datasets: dict[str, Any], *, loop: LoopConfig, scaling: ScalingConfig, out: Path, on_progress: Callable[[str], None]
) -> dict[str, Tensor]:
    """The state of the best epoch. Goes on from the checkpoint in `out`, where there is one of a run that was broken off.

    Args:
        datasets: Ray Data's.
    """
    threads = torch.get_num_threads()
    checkpoint = out / CHECKPOINT
    written = time.monotonic()

    def on_epoch(epoch: Epoch, state: LoopState) -> None:
        nonlocal written
        on_progress(str(epoch))
        if time.monotonic() - written < scaling.checkpoint_seconds:
            return
        part = checkpoint.with_suffix(".part")
        torch.save(state.as_dict(), part)
        part.rename(checkpoint)
        written = time.monotonic()

    for data in datasets.values():
        # As they lie in the files, not as they are ready: the same seed shall see the same batches.
        data.context.execution_options.preserve_order = True
    train_data = Shard(datasets["train"], loop.batch_size, scaling.cache_gb, loop.seed, shuffle=True)
    validation_data = Shard(datasets.get("validation"), loop.batch_size, scaling.cache_gb, loop.seed, shuffle=False)
    torch.set_num_threads(scaling.threads)
    try:
        best = train(
            task,
            train_data.batches,
            lambda: validation_data.batches(0),
            steps_per_epoch=train_data.steps,
            config=loop,
            device="cuda" if scaling.use_gpu else "cpu",
            resume=torch.load(checkpoint, weights_only=True) if checkpoint.is_file() else None,
            on_epoch=on_epoch,
        )
    finally:
        torch.set_num_threads(threads)
    checkpoint.unlink(missing_ok=True)
    return best

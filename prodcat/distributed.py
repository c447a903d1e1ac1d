"""The one place that joins or starts a Ray cluster. Stages say `with cluster(...)` and use Ray inside."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
import ray.data
from pydantic import Field

from prodcat.config import Config
from prodcat.errors import ProdcatError, TrainingError

T = TypeVar("T")


class ClusterConfig(Config):
    """What a local Ray may take when there is no cluster to join. Ignored inside a job or with RAY_ADDRESS set."""

    num_cpus: int = Field(2, ge=1, description="logical CPUs of the local Ray")
    object_store_gb: float = Field(1.0, gt=0, description="object store of the local Ray, GB")


@contextlib.contextmanager
def cluster(config: ClusterConfig) -> Iterator[None]:
    """Join the cluster this process belongs to (a job, RAY_ADDRESS, or one already joined), else start a bounded local one and stop it at the end."""
    if ray.is_initialized():
        yield
        return
    # Serve prints its own lines through its own logger; what it did is told by the caller.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(address="auto", logging_level=logging.WARNING, log_to_driver=False)
    else:
        # Nobody takes a local machine away.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # All workers share this machine. Torch's threads that spin while they wait for one another take the CPU from the one they wait for.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        ray.init(
            address="local",
            num_cpus=config.num_cpus,
            object_store_memory=int(config.object_store_gb * 1e9),
            include_dashboard=False,
            logging_level=logging.WARNING,
            # Workers' own lines stay in Ray's session folder; their errors come back as exceptions, their progress through prodcat.
            log_to_driver=False,
        )
    # Ray Data's bars redraw a terminal line many times a second; prodcat prints its own progress.
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # It warns of every actor that holds a model but asks for no memory; what bounds memory here is the number of actors.
    context.issue_detectors_config.high_memory_detector_config.detection_time_interval_s = -1
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def shortage(*, cpus: float, gpus: float) -> str | None:
    """What the joined cluster has too little of for something that needs so much at once, in words; None: there is enough.

    Not an error: an autoscaling cluster may bring more. But Ray itself waits in silence, and a cluster that does not grow would wait for ever.
    """
    there = ray.cluster_resources()
    short = [
        f"{need:g} {name}s (there are {there.get(name, 0.0):g})"
        for name, need in (("CPU", round(cpus, 2)), ("GPU", round(gpus, 2)))
        if need > there.get(name, 0.0)
    ]
    return " and ".join(short) or None


def each(
    work: Callable[..., T], jobs: Sequence[Any], *shared: Any, cpus: float, gpus: float = 0.0, name: Callable[[Any], str] = str
) -> Iterator[tuple[Any, T]]:
    """Call a function once a job, as tasks on the cluster -> (job, result) as they become ready. Assumes a cluster is joined.

    Args:
        work: called with a job and what is shared; imported by the workers, so no local function.
        shared: arguments that all calls have in common: put into the object store once.
        cpus, gpus: logical ones of a call.
        name: of a job, for messages.

    Raises:
        TrainingError: a call failed; the others are not waited for.
    """
    given = [ray.put(value) for value in shared]
    task = ray.remote(work).options(num_cpus=cpus, num_gpus=gpus)
    waiting = {task.remote(job, *given): job for job in jobs}
    while waiting:
        (ready,), _ = ray.wait(list(waiting))
        job = waiting.pop(ready)
        try:
            yield job, ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ProdcatError):
                raise error.cause from None
            raise TrainingError(f"{name(job)}: failed: {error}") from error


def own_errors(rows: Iterator[T]) -> Iterator[T]:
    """What Ray Data gives; where a task of its fails with one of prodcat's errors, that one and not Ray's account of it.

    Raises:
        ProdcatError: what the task raised.
    """
    try:
        yield from rows
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ProdcatError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from None

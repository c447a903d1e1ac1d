"""Arguments of the served application, as serve_configs/*.yaml give them, and the files they name. Knows no Ray."""

import sys
from pathlib import Path

from pydantic import Field

from prodcat.config import Config
from prodcat.errors import BundleError, ConfigError
from prodcat.prediction.bundle import MANIFEST
from prodcat.serving.keys import read_keys
from prodcat.serving.limits import RequestLimits
from prodcat.serving.remote_images import RemoteImageConfig
from prodcat.serving.stage_two import PRODUCTS_A_CALL
from prodcat.serving.store import MODELS


class AutoscalingArgs(Config):
    """When replicas are added and taken away, by requests under way (Ray Serve's autoscaling_config)."""

    upscale_delay_s: float = Field(3.0, ge=0, description="how long there must be too many requests before replicas are added")
    downscale_delay_s: float = Field(300.0, ge=0, description="how long there must be too few before one is taken away: starting it again costs more")
    downscaling_factor: float = Field(
        0.5,
        gt=0,
        le=1,
        description="how much of the way down is gone at once. A replica that is fuller is slower too: all of it makes the number swing "
        "(benchmarks/simulation.py)",
    )
    look_back_period_s: float = Field(10.0, gt=0, description="requests under way are taken as their mean over so long")
    downscale_to_zero_delay_s: float = Field(900.0, ge=0, description="the same for the last one, where min_replicas is 0")


class TextArgs(Config):
    """The text stage: the HTTP ingress."""

    threads: int = Field(1, ge=1, description="titles read at once in a replica; as many as its CPUs")
    num_cpus: float = Field(1, gt=0, description="logical CPUs of a replica")
    min_replicas: int = Field(1, ge=1, description="replicas without load")
    max_replicas: int = Field(4, ge=1, description="replicas under load")
    max_ongoing_requests: int = Field(64, ge=1, description="requests at once in a replica; each may take limits.max_body_bytes")
    max_queued_requests: int = Field(256, ge=0, description="requests that may wait for a replica's turn; above it the answer is 503 at once")
    image_threads: int = Field(1, ge=1, description="images decoded at once in a replica; each takes up to three bytes a pixel")
    autoscaling: AutoscalingArgs = AutoscalingArgs()


class MultimodalArgs(Config):
    """The multimodal stage."""

    num_gpus: float = Field(0, ge=0, description="logical GPUs of a replica; 0 places it on CPUs. Which device it uses is what torch really sees")
    num_cpus: float = Field(1, ge=0, description="logical CPUs of a replica")
    min_replicas: int = Field(1, ge=0, description="replicas without load; 0 gives the GPU back when nobody needs it, and the first who does waits")
    max_replicas: int = Field(2, ge=1, description="replicas under load")
    max_ongoing_requests: int = Field(32, ge=1, description="calls at once in a replica, each with at most 32 products")
    max_queued_requests: int = Field(
        128, ge=0, description="calls that may wait in a text replica; above it stage one answers alone, marked `degraded`"
    )
    autoscaling: AutoscalingArgs = AutoscalingArgs()
    max_batch_size: int = Field(64, ge=PRODUCTS_A_CALL, description="products of several calls that are read together")
    batch_wait_s: float = Field(0.005, ge=0, description="how long the first call waits for company, seconds")


class ServeArgs(Config):
    """Arguments of the application: `args` of a file in serve_configs/."""

    bundle: str = Field(
        "runs/demo/bundle",
        min_length=1,
        description="folder of a bundle, or of the store that `prodcat promote` writes; for a relative one see find_bundle",
    )
    keys: str | None = Field(None, min_length=1, description="key file of `prodcat key`, found as the bundle is; null: everybody may ask")
    text: TextArgs = TextArgs()
    multimodal: MultimodalArgs = MultimodalArgs()
    limits: RequestLimits = RequestLimits()
    images_by_url: RemoteImageConfig = RemoteImageConfig()


def find_bundle(name: str) -> Path:
    """The absolute folder of a bundle or a store. A relative one is found as the code is: in the folders of sys.path, then in the working directory.

    `serve run` hands its folder to the cluster as the first of sys.path. The working directory and the environment of builder and replicas are those
    of `ray start`, wherever that was; so a variable set for `serve run` would never arrive, and there is none.

    Raises:
        BundleError: it is nowhere; looked for here as well as in the replicas, whose error stands in their logs only.
    """
    starts = _starts(name)
    for start in starts:
        folder = (start / name).absolute()
        if (folder / MANIFEST).is_file() or (folder / MODELS).is_file():
            return folder
    places = name if Path(name).is_absolute() else f"{(starts[0] / name).absolute()} or {(starts[-1] / name).absolute()}"
    raise BundleError(
        f"{places}: no bundle and no store of promoted ones here (neither {MANIFEST} nor {MODELS}); make a bundle with `prodcat fit` or "
        "`prodcat demo`, and name its folder, best with its whole path, as `bundle` in the args of the serve config"
    )


def find_keys(name: str) -> Path:
    """The absolute path of a key file, found as a bundle is.

    Raises:
        ConfigError: it is nowhere, or does not fit; said here, for the replicas' own error stands in their logs only.
    """
    file = next((file for start in _starts(name) if (file := (start / name).absolute()).is_file()), None)
    if file is None:
        raise ConfigError(f"{name}: no key file here; make it with `prodcat key NAME --file {name}`, and give its whole path as `keys` in the args")
    read_keys(file)
    return file


def _starts(name: str) -> list[Path]:
    return [Path.cwd()] if Path(name).is_absolute() else [*(Path(entry) for entry in sys.path), Path.cwd()]


def local_args() -> ServeArgs:
    """One small replica a stage: fits a machine with two CPUs, beside other work."""
    return ServeArgs(text=TextArgs(num_cpus=0.5, max_replicas=1), multimodal=MultimodalArgs(num_cpus=0.5, max_replicas=1))

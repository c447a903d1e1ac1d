"""The cascade on Ray Serve: the text stage is the HTTP ingress on CPUs, the multimodal stage a second deployment on GPUs, for what is unsure.

Knows no routes (api.py) and no models (prediction/). Without `from __future__ import annotations`, on purpose: Serve parses the builder's arguments
only when their annotation is a class, not a string.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from fastapi import FastAPI
from pydantic import Field
from ray import serve
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException

from prodcat.config import Config
from prodcat.contracts import Product
from prodcat.errors import BundleError, ConfigError
from prodcat.prediction.bundle import MANIFEST, STAGE_ONE, Bundle
from prodcat.prediction.cascade import StageTwoOutput
from prodcat.serving.api import create_api
from prodcat.serving.keys import KeyRing, read_keys
from prodcat.serving.limits import RequestLimits
from prodcat.serving.schema import model_info

APPLICATION = "prodcat"
# Both stages answer it before they take requests: the first call of a session or a device is the slow one.
WARM_UP = Product(platform="prodcat", product_id="warm-up", title="warm-up")
# Products sent to stage two in one call; a batch request is spread over the replicas.
PRODUCTS_A_CALL = 32


class TextArgs(Config):
    """The text stage: the HTTP ingress."""

    threads: int = Field(1, ge=1, description="titles read at once in a replica; as many as its CPUs")
    num_cpus: float = Field(1, gt=0, description="logical CPUs of a replica")
    min_replicas: int = Field(1, ge=1, description="replicas without load")
    max_replicas: int = Field(4, ge=1, description="replicas under load")
    max_ongoing_requests: int = Field(64, ge=1, description="requests at once in a replica; each may take limits.max_body_bytes")


class MultimodalArgs(Config):
    """The multimodal stage."""

    num_gpus: float = Field(0, ge=0, description="logical GPUs of a replica; 0 places it on CPUs. Which device it uses is what torch really sees")
    num_cpus: float = Field(1, ge=0, description="logical CPUs of a replica; images are decoded there")
    min_replicas: int = Field(1, ge=1, description="replicas without load")
    max_replicas: int = Field(2, ge=1, description="replicas under load")
    max_ongoing_requests: int = Field(32, ge=1, description="calls at once in a replica, each with at most 32 products")
    max_batch_size: int = Field(64, ge=PRODUCTS_A_CALL, description="products of several calls that are read together")
    batch_wait_s: float = Field(0.005, ge=0, description="how long the first call waits for company, seconds")


class ServeArgs(Config):
    """Arguments of the application: `args` of a file in serve_configs/."""

    bundle: str = Field("runs/demo/bundle", min_length=1, description="folder of the bundle; for a relative one see find_bundle")
    keys: str | None = Field(None, min_length=1, description="key file of `prodcat key`, found as the bundle is; null: everybody may ask")
    text: TextArgs = TextArgs()
    multimodal: MultimodalArgs = MultimodalArgs()
    limits: RequestLimits = RequestLimits()


def products_in(calls: Sequence[Sequence[Product]]) -> int:
    """What a batch of stage two costs: its products, not its calls."""
    return sum(len(products) for products in calls)


@serve.deployment(health_check_period_s=5, health_check_timeout_s=10, max_constructor_retry_count=2)
class MultimodalStage:
    """Stage two: a whole bundle's encoders and fusion on one device."""

    def __init__(self, bundle: str, max_batch_size: int, batch_wait_s: float) -> None:
        # Here and not above: the text replica unpickles this module too and must not load torch.
        import torch

        self._stage = Bundle.open(bundle).multimodal_stage(device="cuda" if torch.cuda.is_available() else "cpu")
        self._stage.read([WARM_UP])
        self._together.set_max_batch_size(max_batch_size)  # type: ignore[attr-defined]
        self._together.set_batch_wait_timeout_s(batch_wait_s)  # type: ignore[attr-defined]

    async def read(self, products: list[Product]) -> StageTwoOutput:
        """At most PRODUCTS_A_CALL products -> what the stage reads in them."""
        output: StageTwoOutput = await self._together(products)
        return output

    @serve.batch(batch_size_fn=products_in, max_batch_size=64)
    async def _together(self, calls: list[list[Product]]) -> list[StageTwoOutput]:
        products = [product for call in calls for product in call]
        # In a thread: health checks and new calls share the event loop.
        output = await asyncio.to_thread(self._stage.read, products)
        parts, start = [], 0
        for call in calls:
            rows = slice(start, start := start + len(call))
            parts.append(StageTwoOutput(output.logits[rows], output.readable[rows], output.image_problems[rows]))
        return parts


@serve.deployment(health_check_period_s=5, health_check_timeout_s=10, max_constructor_retry_count=2)
@serve.ingress()
class TextStage:
    """Stage one and HTTP. The process holds onnxruntime and the vocabulary, no torch."""

    def __init__(self, bundle: str, args: dict[str, Any], multimodal: DeploymentHandle) -> None:
        self._args = ServeArgs.model_validate(args)
        # The bundle's other files are stage two's to check; a text replica may stand on a machine that is quick to start.
        self._bundle = Bundle.open(bundle, only=(STAGE_ONE,))
        self._cascade = self._bundle.text_cascade()
        self._cascade.stage_one.read([str(WARM_UP.title)])
        self._keys = KeyRing(Path(self._args.keys)) if self._args.keys else None
        self._multimodal = multimodal
        self._stage_two_answered = False

    def __serve_build_asgi_app__(self) -> FastAPI:
        limits = self._args.limits
        info = model_info(self._bundle, limits.model_dump())
        return create_api(self._cascade, self._ask, info, limits, self._missing, threads=self._args.text.threads, id_header=False, keys=self._keys)

    async def _ask(self, products: list[Product]) -> StageTwoOutput:
        calls = [products[start : start + PRODUCTS_A_CALL] for start in range(0, len(products), PRODUCTS_A_CALL)]
        try:
            outputs = await asyncio.gather(*(self._multimodal.read.remote(call) for call in calls))
        except (BackPressureError, DeploymentUnavailableError, ray.exceptions.ActorDiedError, ray.exceptions.ActorUnavailableError) as error:
            raise HTTPException(503, "stage two is not to be reached now; send the request again", headers={"Retry-After": "1"}) from error
        self._stage_two_answered = True
        return joined(outputs)

    async def _missing(self) -> str | None:
        # Once it has answered it counts as there: an outage of stage two must not take the text stage out of service.
        if not self._stage_two_answered:
            try:
                await asyncio.wait_for(self._ask([WARM_UP]), timeout=5)
            except (TimeoutError, HTTPException):
                return "stage two has not answered its warm-up yet"
        return None


def joined(outputs: Sequence[StageTwoOutput]) -> StageTwoOutput:
    """Stage two's outputs for parts of a request, as one, in order."""
    if len(outputs) == 1:
        return outputs[0]
    return StageTwoOutput(
        np.concatenate([output.logits for output in outputs]),
        np.concatenate([output.readable for output in outputs]),
        tuple(problem for output in outputs for problem in output.image_problems),
    )


def find_bundle(name: str) -> Path:
    """The absolute folder of a bundle. A relative one is found as the code is: in the folders of sys.path, then in the working directory.

    `serve run` hands its folder to the cluster as the first of sys.path. The working directory and the environment of builder and replicas are those
    of `ray start`, wherever that was; so a variable set for `serve run` would never arrive, and there is none.

    Raises:
        BundleError: it is nowhere; looked for here as well as in the replicas, whose error stands in their logs only.
    """
    starts = _starts(name)
    for start in starts:
        folder = (start / name).absolute()
        if (folder / MANIFEST).is_file():
            return folder
    places = name if Path(name).is_absolute() else f"{(starts[0] / name).absolute()} or {(starts[-1] / name).absolute()}"
    raise BundleError(
        f"{places}: no bundle here ({MANIFEST} is missing); make one with `prodcat fit` or `prodcat demo`, and name its folder, "
        "best with its whole path, as `bundle` in the args of the serve config"
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


def build_app(args: ServeArgs) -> serve.Application:
    """The application, for `serve run` and `serve deploy` (import_path prodcat.serving.deployment:build_app) and for `run_local`.

    Raises:
        BundleError: there is no bundle where `args.bundle` points to.
        ConfigError: there is no key file where `args.keys` points to, or it does not fit.
    """
    bundle = find_bundle(args.bundle)
    if args.keys is not None:
        args = args.model_copy(update={"keys": str(find_keys(args.keys))})
    text, multimodal = args.text, args.multimodal
    stage_two = MultimodalStage.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": multimodal.num_cpus, "num_gpus": multimodal.num_gpus},
        autoscaling_config=_autoscaling(multimodal.min_replicas, multimodal.max_replicas, multimodal.max_ongoing_requests),
        max_ongoing_requests=multimodal.max_ongoing_requests,
    ).bind(str(bundle), multimodal.max_batch_size, multimodal.batch_wait_s)
    app: serve.Application = TextStage.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": text.num_cpus},
        autoscaling_config=_autoscaling(text.min_replicas, text.max_replicas, text.max_ongoing_requests),
        max_ongoing_requests=text.max_ongoing_requests,
    ).bind(str(bundle), args.model_dump(), stage_two)
    return app


def _autoscaling(least: int, most: int, ongoing: int) -> dict[str, Any]:
    # Half full is busy: the other half is the room for what comes while a replica starts.
    return {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": max(1, ongoing // 2)}


@contextlib.contextmanager
def run_local(bundle: Path, *, port: int, host: str = "127.0.0.1", args: ServeArgs | None = None) -> Iterator[str]:
    """Serve a bundle on the Ray cluster this process has joined, until the block ends.

    Args:
        port: of HTTP, on `host`.
        args: all else; its `bundle` is replaced. Default: what serve_configs/local.yaml says, two fractions of one CPU.

    Yields:
        the base URL, once both stages have answered a warm-up.

    Raises:
        BundleError: no bundle there.
        ConfigError: the port is taken, or Serve runs on this cluster already.
    """
    app = build_app((args or local_args()).model_copy(update={"bundle": str(bundle.absolute())}))
    _free(host, port)
    serve.start(http_options={"host": host, "port": port}, proxy_location="HeadOnly")
    try:
        # Waits until both deployments are healthy, which is after their warm-up; raises RuntimeError with the replica's own error if one fails.
        serve.run(app, name=APPLICATION, route_prefix="/")
        yield f"http://{host}:{port}"
    finally:
        serve.shutdown()


def _free(host: str, port: int) -> None:
    with contextlib.suppress(ValueError):
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        # Its HTTP address cannot be changed any more, and shutting it down at the end would take other applications along.
        raise ConfigError("Ray Serve already runs on this cluster; deploy there with `serve deploy serve_configs/local.yaml`, or stop it first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"port {port} on {host} is not free ({error.strerror}); choose another") from error


def local_args() -> ServeArgs:
    """One small replica a stage: fits a machine with two CPUs, beside other work."""
    return ServeArgs(text=TextArgs(num_cpus=0.5, max_replicas=1), multimodal=MultimodalArgs(num_cpus=0.5, max_replicas=1))

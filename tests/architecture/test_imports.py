"""Importing starts nothing: looked at in fresh processes, for what this one has imported proves nothing."""

import subprocess
from collections.abc import Callable
from importlib.util import find_spec

import pytest


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return out


def test_importing_every_module_starts_nothing(importing_everything: subprocess.Popen[str]) -> None:
    assert output(importing_everything) == "", "importing printed something"


def exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


LIGHT = {
    # What the text replica loads: half a second and 250 MB instead of two and 800.
    "prodcat.prediction.text_stage": ("torch", "transformers", "timm", "open_clip", "sklearn", "pandas", "ray"),
    # What a client of the schema or of the API without Ray loads.
    "prodcat.serving.schema": ("torch", "transformers", "ray", "onnxruntime", "numpy", "pyarrow", "fastapi"),
    "prodcat.client": ("torch", "transformers", "ray", "onnxruntime", "numpy", "pyarrow", "fastapi", "starlette", "yaml"),
    "prodcat.serving.api": ("torch", "transformers", "ray"),
    "prodcat.taxonomy": ("torch", "pyarrow", "ray"),
    "prodcat.decoding": ("torch", "pyarrow", "ray"),
    "prodcat.images": ("torch", "pyarrow", "ray"),
}


@pytest.mark.parametrize("name", [name for name in LIGHT if exists(name)])
def test_light_modules_stay_light(name: str, fresh_process: Callable[[str], subprocess.Popen[str]]) -> None:
    loaded = output(fresh_process(f"import {name}, sys; print(*sorted({set(LIGHT[name])!r} & set(sys.modules)))"))
    assert loaded.split() == [], f"{name} loads {loaded}"

"""Which files the architecture is read from. A test that takes `module_file`, `job_file` or `yaml_file` runs once for every such file there is."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = {
    "module_file": sorted((REPOSITORY / "prodcat").rglob("*.py")),
    "job_file": sorted((REPOSITORY / "ray_jobs").rglob("*.py")),
    "yaml_file": sorted(
        path for folder in ("ray_jobs", "serve_configs", "prodcat", "") for path in (REPOSITORY / folder).glob("**/*.yaml" if folder else "*.yaml")
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, paths in FILES.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, paths, ids=[str(path.relative_to(REPOSITORY)) for path in paths])


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


FreshProcess = Callable[[str], subprocess.Popen[str]]


@pytest.fixture(scope="session")
def fresh_process(tmp_path_factory: pytest.TempPathFactory) -> FreshProcess:
    """Starts code in a new interpreter, in an empty folder."""

    def start(code: str) -> subprocess.Popen[str]:
        return _start(code, str(tmp_path_factory.mktemp("fresh")))

    return start


def _start(code: str, folder: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


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
IMPORTING = pytest.StashKey[subprocess.Popen[str]]()


# Importing everything takes ten seconds: it goes on beside the collection. A folder that is collected later (`pytest tests`) gets no such call, and
# the fixture starts it then.
def pytest_sessionstart(session: pytest.Session) -> None:
    if not session.config.option.collectonly and not session.config.option.keyword:
        folder = tempfile.TemporaryDirectory(prefix="prodcat-import-")
        session.config.add_cleanup(folder.cleanup)
        session.config.stash[IMPORTING] = process = _start(IMPORT_ALL, folder.name)
        session.config.add_cleanup(process.kill)


@pytest.fixture
def importing_everything(request: pytest.FixtureRequest, fresh_process: FreshProcess) -> Iterator[subprocess.Popen[str]]:
    process = request.config.stash.get(IMPORTING, None) or fresh_process(IMPORT_ALL)
    yield process
    process.kill()

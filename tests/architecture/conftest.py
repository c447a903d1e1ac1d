"""Which files the architecture is read from. A test that takes `module_file`, `job_file` or `yaml_file` runs once for every such file there is."""

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

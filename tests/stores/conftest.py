"""A server that speaks S3 on a free port of this machine, and jobs that are processes of their own: nothing here is made up on prodcat's side."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server, as a process. Its answers are those of S3 as its makers read S3's documents."""
    port = free_port()
    with (tmp_path_factory.mktemp("s3") / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            for _ in range(600):
                assert server.poll() is None, "the server did not start"
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="session")
def environment(endpoint: str) -> dict[str, str]:
    """What a user of a store sets, and nothing else. Of S3 itself nothing is asked: no file of credentials, no instance's role."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(autouse=True)
def _in_the_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(_in_the_environment: None) -> str:
    """URI of a new one."""
    name = f"tests-{secrets.token_hex(6)}"
    fs.FileSystem.from_uri(f"s3://{name}?allow_bucket_creation=true")[0].create_dir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def address(environment: dict[str, str]) -> Iterator[str]:
    """Of a cluster whose node has a store's credentials in its environment, as a user's nodes have."""
    # Not above: Ray reads its environment when it is imported, and this file may be loaded before tests/conftest.py has set it.
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 200_000_000})
    yield made.address
    made.shutdown()


@pytest.fixture
def job(environment: dict[str, str], address: str) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Runs `python -m ray_jobs.NAME ...` on that cluster -> exit status, last line, progress."""

    def run(name: str, *arguments: object) -> tuple[int, dict[str, Any], str]:
        own = os.environ | environment | {"RAY_ADDRESS": address}
        command = [sys.executable, "-m", f"ray_jobs.{name}", *(str(each) for each in arguments)]
        done = subprocess.run(command, cwd=REPOSITORY, env=own, capture_output=True, text=True, timeout=600, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr

    return run

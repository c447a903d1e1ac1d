"""As on a user's cluster: `ray start --head --num-gpus=1` with a token and no real GPU, a job submitted to it, `serve run prod.yaml`, and the
dashboard that lists both.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(what: Callable[[], bool], seconds: float, message: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if what():
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    pytest.fail(message)


class Head:
    """A head node of its own, with its own token and ports."""

    def __init__(self, folder: Path) -> None:
        self.gcs, self.dashboard, self.http, agent, client = free_ports(5)
        # A local cluster of the same test run must not be joined, nor its Serve settings inherited.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = inherited | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Nobody is served any more when the head is stopped: else it waits half a minute for them.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "RAY_ADDRESS": f"127.0.0.1:{self.gcs}",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self.dashboard}",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        command = ["ray", "start", "--head", "--block", "--num-cpus=2", "--num-gpus=1", "--object-store-memory=300000000", "--disable-usage-stats"]
        command += [f"--port={self.gcs}", "--include-dashboard=true", f"--dashboard-port={self.dashboard}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--ray-client-server-port={client}", f"--temp-dir={folder}", "--node-ip-address=127.0.0.1"]
        without_address = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        self.log = (folder / "head.log").open("w")
        self.process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], env=without_address, stdout=self.log, stderr=self.log, start_new_session=True, cwd=folder
        )

    def get(self, path: str) -> dict | list:
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        return httpx.get(f"http://127.0.0.1:{self.dashboard}{path}", headers=headers, timeout=10).raise_for_status().json()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            # Nothing of it may outlive the tests, however busy the machine is.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        finally:
            self.log.close()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    # Ray's sockets need a short path.
    folder = Path(f"/tmp/prodcat-{secrets.token_hex(4)}")
    folder.mkdir()
    head = Head(folder)
    try:
        wait_for(lambda: bool(head.get("/api/version")), 90, f"no dashboard; see {folder}")
        yield head
    finally:
        head.stop()


def test_without_the_token_the_dashboard_answers_nobody(head: Head) -> None:
    assert httpx.get(f"http://127.0.0.1:{head.dashboard}/api/jobs/", timeout=10).status_code in (401, 403)


def submitted(head: Head, job: str, *arguments: object) -> dict:
    """The summary of `ray job submit ... python -m ray_jobs.JOB ARGUMENTS`: the last line of JSON it prints."""
    command = [
        BIN / "ray",
        "job",
        "submit",
        "--working-dir",
        ".",
        "--submission-id",
        f"test-{job}",
        "--",
        "python",
        "-m",
        f"ray_jobs.{job}",
        *arguments,
    ]
    done = subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, env=head.environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(json.loads(line) for line in reversed(done.stdout.splitlines()) if line.startswith("{"))


def test_submitted_jobs_run_and_the_dashboard_lists_them(
    head: Head, demo_feeds: Path, demo_run: Path, tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    assert submitted(head, "ingest", demo_feeds, "--out", tmp_path / "catalog")["products"] > 200
    # In a copy: other tests use the run as it is. The encoders are there; the gate is chosen anew, the bundle written and judged.
    shutil.copytree(demo_run, tmp_path / "run")
    sets = [part for setting in (*tiny_settings, "gate.tolerance=0.2", "evaluate.probes=[image]") for part in ("--set", setting)]
    fitted = submitted(head, "fit", demo_feeds, "--config", "offline", "--out", tmp_path / "run", *sets)
    assert 0 < fitted["hierarchical"]["f1"] <= 1
    assert Path(fitted["report"]).is_file()
    classified = submitted(head, "classify", tmp_path / "catalog", "--bundle", fitted["bundle"], "--out", tmp_path / "answers")
    assert classified["classified"] + classified["rejected"] > 200
    # Every branch of the tree that has enough products, one task each; each product in one.
    quick = ("branch.selection=null", "branch.judged_seeds=[]", "moving=null", "least=25", "reads=[text]", "unlabelled=left out")
    sets = [part for setting in quick for part in ("--set", setting)]
    features, out = tmp_path / "run" / "features", tmp_path / "proposed"
    found = submitted(head, "recategorize", fitted["bundle"], tmp_path / "run", "--features", features, "--out", out, *sets)
    assert found["branches"] > 1
    placed = pq.read_table(out / "products.parquet", columns=["key", "branch"]).to_pylist()
    assert len({row["key"] for row in placed}) == len(placed) == found["products"]
    assert len({row["branch"] for row in placed}) == found["branches"]
    ran = ("ingest", "fit", "classify", "recategorize")
    jobs = {job["submission_id"]: job["status"] for job in head.get("/api/jobs/")}
    assert {name: jobs.get(f"test-{name}") for name in ran} == dict.fromkeys(ran, "SUCCEEDED")


def test_serve_run_prod_yaml_answers_and_the_dashboard_lists_it(head: Head, demo_run: Path, tmp_path: Path) -> None:
    document = yaml.safe_load((REPOSITORY / "serve_configs" / "prod.yaml").read_text())
    assert document["applications"][0]["args"]["multimodal"]["num_gpus"] == 1
    # The shipped file, but for what this machine decides: the place of the bundle and a free port.
    document["applications"][0]["args"]["bundle"] = str(demo_run / "bundle")
    document["http_options"] |= {"port": head.http, "host": "127.0.0.1"}
    (tmp_path / "prod.yaml").write_text(yaml.safe_dump(document))
    with (tmp_path / "serve.log").open("w") as log:
        command = [str(BIN / "serve"), "run", str(tmp_path / "prod.yaml")]
        serving = subprocess.Popen(command, cwd=REPOSITORY, env=head.environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{head.http}"
            wait_for(lambda: httpx.get(f"{url}/readyz", timeout=5).status_code == 200, 180, (tmp_path / "serve.log").read_text())
            answer = httpx.post(f"{url}/v1/classify", json={"title": "sneakers", "platform": "shop"}, timeout=30).raise_for_status().json()
            assert answer["path"]
            applications = head.get("/api/serve/applications/")
            assert applications["applications"]["prodcat"]["status"] == "RUNNING"
            assert set(applications["applications"]["prodcat"]["deployments"]) == {"TextStage", "MultimodalStage"}
        finally:
            serving.send_signal(signal.SIGINT)
            try:
                serving.wait(60)
            except subprocess.TimeoutExpired:
                # Rarely Ray's command asks a controller to shut down that is gone already, and asks again for ever. The head is stopped anyway.
                serving.kill()
                serving.wait(10)

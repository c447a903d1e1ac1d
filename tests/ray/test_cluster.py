"""prodcat.distributed.cluster joins what is there, the shared cluster is what tests expect of it, and cluster.yaml is what Ray's launcher accepts."""

import re
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from prodcat.distributed import ClusterConfig, cluster, shortage

CLUSTER_YAML = Path(__file__).resolve().parents[2] / "cluster.yaml"


@ray.remote
def _size(text: str) -> int:
    return len(text)


def test_a_joined_cluster_is_used_and_left_running() -> None:
    before = ray.get_runtime_context().get_job_id()
    with cluster(ClusterConfig()):
        assert ray.get_runtime_context().get_job_id() == before
    assert ray.is_initialized()


def test_the_cluster_has_a_logical_gpu_and_runs_tasks() -> None:
    assert ray.cluster_resources()["CPU"] == 4
    assert ray.cluster_resources()["GPU"] == 1
    assert ray.get([_size.remote("ab"), _size.options(num_gpus=1).remote("abc")], timeout=60) == [2, 3]


def test_what_a_cluster_lacks_is_said() -> None:
    assert shortage(cpus=4, gpus=1) is None
    assert shortage(cpus=0.3 + 5.2, gpus=0) == "5.5 CPUs (there are 4)"
    assert shortage(cpus=4.5, gpus=2) == "4.5 CPUs (there are 4) and 2 GPUs (there are 1)"


@pytest.fixture
def launcher() -> dict[str, Any]:
    """cluster.yaml as `ray up` sees it: with the provider's defaults."""
    return prepare_config(yaml.safe_load(CLUSTER_YAML.read_text(encoding="utf-8")))


def test_the_launcher_accepts_cluster_yaml(launcher: dict[str, Any]) -> None:
    validate_config(launcher)
    with pytest.raises(Exception, match="'idle_timeout' was unexpected"):
        validate_config(launcher | {"idle_timeout": 3})


def test_the_head_works_not_and_each_group_of_workers_scales(launcher: dict[str, Any]) -> None:
    nodes = launcher["available_node_types"]
    assert nodes[launcher["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}
    workers = {name: node for name, node in nodes.items() if name != launcher["head_node_type"]}
    assert {bool(node["resources"].get("GPU")) for node in workers.values()} == {True, False}
    for node in workers.values():
        assert node["min_workers"] < node["max_workers"]
    assert sum(node["max_workers"] for node in workers.values()) <= launcher["max_workers"]


def test_every_node_starts_with_what_fast_serving_and_the_token_need(launcher: dict[str, Any]) -> None:
    for commands in (launcher["head_start_ray_commands"], launcher["worker_start_ray_commands"]):
        start = [command for command in commands if "ray start" in command]
        assert len(start) == 1
        environment = dict(re.findall(r"(RAY_\w+)=(\S+)", start[0].split("ray start")[0]))
        assert environment == {"RAY_AUTH_MODE": "token", "RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    assert "--num-cpus=0" in " ".join(launcher["head_start_ray_commands"])
    assert "/home/ray/.ray/auth_token" in launcher["file_mounts"]


def test_the_nodes_run_the_pinned_ray(launcher: dict[str, Any]) -> None:
    assert f"rayproject/ray:{ray.__version__}-py311" in launcher["docker"]["image"]

"""What is shipped to run prodcat elsewhere: cluster.yaml, deploy/kuberay and the Dockerfile, held against the schemas of those who read them, and
against what no schema says: who may do what, what fits on what, and that all of them mean the same.

schemas/ holds what KubeRay publishes of RayService and RayJob; pods, policies and accounts are read by Kubernetes' own schemas (kubernetes-validate).
Unknown keys are refused in both.
"""

import copy
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from referencing import Registry, Resource

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
MANIFESTS = REPOSITORY / "deploy" / "kuberay"
# A Kubernetes that is in use for a while: what it knows, later ones know.
KUBERNETES = "1.34"
# vCPUs and GPUs of the instances that cluster.yaml names, from the provider's pages.
INSTANCES = {"m7i.2xlarge": (8, 0), "c7i.4xlarge": (16, 0), "g5.2xlarge": (8, 1)}
MARKETS = ("spot", "on-demand")


def read(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


DOCUMENTS = {
    f"{path.name}:{document['kind']}-{number}": document for path in sorted(MANIFESTS.glob("*.yaml")) for number, document in enumerate(read(path))
}


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in DOCUMENTS.values() if document["kind"] == kind]


SERVICE, JOB = of_kind("RayService")[0], of_kind("RayJob")[0]
CLUSTERS = {"RayService": SERVICE["spec"]["rayClusterConfig"], "RayJob": JOB["spec"]["rayClusterSpec"]}
GROUPS = {
    f"{kind}:{group.get('groupName', 'head')}": group
    for kind, spec in CLUSTERS.items()
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
}
CLUSTER = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text(encoding="utf-8"))
NODES = CLUSTER["available_node_types"]


def pinned(name: str) -> str:
    return re.search(rf"^{re.escape(name)}==(\S+)$", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]


def closed(schema: Any) -> Any:
    """The schema, with every object that names its properties refusing others: the API server would drop those without a word."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(part) for key, part in schema.items()}
    return {"additionalProperties": False, **found} if isinstance(found.get("properties"), dict) and "type" in found else found


@cache
def published() -> Registry:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"
    definitions = Resource.from_contents(json.loads((folder / "_definitions.json").read_text(encoding="utf-8")))
    ours = [(path.name, Resource.from_contents(closed(json.loads(path.read_text(encoding="utf-8"))))) for path in SCHEMAS.glob("kuberay-*.json")]
    return (definitions @ Registry()).with_resources(ours)


def problems(document: dict[str, Any]) -> list[str]:
    """What the schemas say against a manifest."""
    if not document["apiVersion"].startswith("ray.io/"):
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            return [error.message]
        return []
    envelope = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": "ray.io/v1"},
            "kind": {},
            "metadata": {"$ref": "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
            "spec": {"$ref": f"kuberay-{document['kind'].lower()}.json"},
        },
    }
    validator = jsonschema.Draft202012Validator(envelope, registry=published())
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_manifest_is_what_its_schema_asks_for(name: str) -> None:
    assert problems(DOCUMENTS[name]) == []


def broken(document: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> list[str]:
    changed = copy.deepcopy(document)
    change(changed)
    return problems(changed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["spec"].update(serveConfig=""), "'serveConfig' was unexpected"),
        (lambda d: d["spec"]["rayClusterConfig"]["authOptions"].update(mode="tokens"), "'tokens' is not one of"),
        (lambda d: d["spec"]["rayClusterConfig"].update(authOption={}), "'authOption' was unexpected"),
        (lambda d: d["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}), "0 is not of type 'string'"),
        (lambda d: d["spec"]["rayClusterConfig"]["workerGroupSpecs"][0].pop("maxReplicas"), "'maxReplicas' is a required property"),
        (lambda d: pod_of(d)["securityContext"].update(runAsNonroot=True), "'runAsNonroot' was unexpected"),
        (lambda d: pod_of(d)["containers"][0].update(resource={}), "'resource' was unexpected"),
        (lambda d: d["metadata"].update(label={}), "'label' was unexpected"),
        (lambda d: d.pop("spec"), "'spec' is a required property"),
    ],
)
def test_a_broken_service_is_refused(change: Callable[[dict[str, Any]], Any], told: str) -> None:
    found = broken(SERVICE, change)
    assert any(told in problem for problem in found), found


def test_other_broken_manifests_are_refused() -> None:
    assert "'ingres' was unexpected" in str(broken(of_kind("NetworkPolicy")[0], lambda d: d["spec"].update(ingres=[])))
    assert "'minAvailabel' was unexpected" in str(broken(of_kind("PodDisruptionBudget")[0], lambda d: d["spec"].update(minAvailabel=1)))
    assert "'retries' was unexpected" in str(broken(JOB, lambda d: d["spec"].update(retries=1)))


def pod_of(service: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    return pod


def test_the_service_serves_what_prod_yaml_says() -> None:
    ours = yaml.safe_load((REPOSITORY / "serve_configs" / "prod.yaml").read_text(encoding="utf-8"))
    theirs = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    args = [config["applications"][0]["args"] for config in (ours, theirs)]
    assert [{key: one.pop(key) for key in ("bundle", "keys")} for one in args][1] == {"bundle": "/models/store", "keys": "/etc/prodcat/keys.yaml"}
    assert theirs == ours


# What a pod may do.


@pytest.mark.parametrize("name", GROUPS)
def test_a_pod_has_no_right_it_does_not_need(name: str) -> None:
    pod = GROUPS[name]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert [volume["name"] for volume in pod["volumes"] if "hostPath" in volume] == []
    for container in pod["containers"]:
        may = container["securityContext"]
        assert may["capabilities"] == {"drop": ["ALL"]}
        assert may["readOnlyRootFilesystem"] is True
        assert may["allowPrivilegeEscalation"] is False
        # What it may write is scratch: bundles and keys are read.
        assert {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {"scratch"}


@pytest.mark.parametrize("kind", CLUSTERS)
def test_only_the_autoscaler_asks_the_kubernetes_api(kind: str) -> None:
    options = CLUSTERS[kind]["autoscalerOptions"]
    assert [mount["mountPath"] for mount in options["volumeMounts"]] == ["/var/run/secrets/kubernetes.io/serviceaccount"]
    assert options["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    (name,) = [mount["name"] for mount in options["volumeMounts"]]
    mounts = [
        mount["name"] for group in GROUPS.values() for container in group["template"]["spec"]["containers"] for mount in container["volumeMounts"]
    ]
    assert name not in mounts
    assert name in [volume["name"] for volume in CLUSTERS[kind]["headGroupSpec"]["template"]["spec"]["volumes"]]


@pytest.mark.parametrize("name", GROUPS)
def test_a_container_asks_for_all_the_memory_it_may_take(name: str) -> None:
    # More than was asked for is memory of others: the kernel then ends whichever it likes.
    for container in GROUPS[name]["template"]["spec"]["containers"]:
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory"} <= resources["limits"].keys()


def test_accounts_are_there_and_mount_no_token() -> None:
    accounts = {account["metadata"]["name"]: account for account in of_kind("ServiceAccount")}
    assert {group["template"]["spec"]["serviceAccountName"] for group in GROUPS.values()} == accounts.keys()
    assert {account["automountServiceAccountToken"] for account in accounts.values()} == {False}


def test_no_secret_stands_in_a_manifest() -> None:
    assert of_kind("Secret") == []
    values = [variable for group in GROUPS.values() for container in group["template"]["spec"]["containers"] for variable in container.get("env", [])]
    assert [value["name"] for value in values if re.search("TOKEN|SECRET|PASSWORD|KEY", value["name"]) and "value" in value] == []
    text = "".join(path.read_text(encoding="utf-8") for path in (*MANIFESTS.glob("*"), REPOSITORY / "cluster.yaml", REPOSITORY / "Dockerfile"))
    assert re.findall(r"AKIA[0-9A-Z]{16}|aws_secret_access_key|BEGIN [A-Z ]*PRIVATE KEY", text) == []


def covers(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector["matchLabels"].items() <= labels.items()


def test_only_http_comes_from_outside_and_every_pod_is_guarded() -> None:
    policies = [policy["spec"] for policy in of_kind("NetworkPolicy")]
    for group in GROUPS.values():
        labels = group["template"]["metadata"]["labels"]
        assert [policy for policy in policies if covers(policy["podSelector"], labels) and set(policy["policyTypes"]) == {"Ingress", "Egress"}]
    for rule in (rule for policy in policies for rule in policy.get("ingress", [])):
        (peer,) = rule["from"]
        ports = {port["port"] for port in rule.get("ports", [])}
        outside = peer.get("namespaceSelector", {}).get("matchLabels", {})
        if outside in ({"prodcat.io/ingress": "true"}, {"prodcat.io/monitoring": "true"}):
            assert ports == ({8000} if "prodcat.io/ingress" in outside else {8080})
        elif "namespaceSelector" in peer:
            assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}
            assert ports
            assert ports <= {8265, 8000}
        else:
            # All ports: among pods of one component only.
            assert {"app.kubernetes.io/part-of", "app.kubernetes.io/component"} <= peer["podSelector"]["matchLabels"].keys()


def test_a_drain_leaves_a_text_worker() -> None:
    (budget,) = [budget["spec"] for budget in of_kind("PodDisruptionBudget")]
    held = {name: group for name, group in GROUPS.items() if covers(budget["selector"], group["template"]["metadata"]["labels"])}
    assert held.keys() == {"RayService:text"}
    # Otherwise no node that holds one could ever be drained.
    assert held["RayService:text"]["minReplicas"] > budget["minAvailable"]


# What runs on what.


@pytest.mark.parametrize("kind", CLUSTERS)
def test_heads_run_no_task_and_scaling_is_rays(kind: str) -> None:
    assert CLUSTERS[kind]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert CLUSTERS[kind]["enableInTreeAutoscaling"] is True


@pytest.mark.parametrize("name", GROUPS)
def test_gpus_and_spot_nodes_are_asked_for_as_they_are_guarded(name: str) -> None:
    group, pod = GROUPS[name], GROUPS[name]["template"]["spec"]
    limits = pod["containers"][0]["resources"]["limits"]
    tolerated = {toleration["key"] for toleration in pod.get("tolerations", [])}
    assert ("nvidia.com/gpu" in limits) == ("nvidia.com/gpu" in tolerated) == ("gpu" in name)
    spot = group["labels"]["market-type"] == "spot"
    assert pod["nodeSelector"] == {"karpenter.sh/capacity-type": group["labels"]["market-type"]}
    assert spot == ("spot" in name) == ("prodcat.io/spot" in tolerated)
    if "lifecycle" in pod["containers"][0]:
        waits = int(re.search(r"sleep (\d+)", " ".join(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]))[1])
        assert waits < pod["terminationGracePeriodSeconds"]
    assert spot <= ("lifecycle" in pod["containers"][0])


def test_the_service_has_room_for_its_replicas_and_stays_off_spot_nodes() -> None:
    args = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])["applications"][0]["args"]
    workers = {group["groupName"]: group for group in CLUSTERS["RayService"]["workerGroupSpecs"]}
    cpus = {name: int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]) for name, group in workers.items()}
    assert workers["text"]["maxReplicas"] * cpus["text"] >= args["text"]["max_replicas"] * args["text"]["num_cpus"]
    assert workers["gpu"]["maxReplicas"] >= args["multimodal"]["max_replicas"] * args["multimodal"]["num_gpus"]
    assert {group["labels"]["market-type"] for group in workers.values()} == {"on-demand"}


def test_a_job_is_one_of_ours_goes_when_done_and_tries_again(fresh_process: Callable[[str], subprocess.Popen[str]]) -> None:
    spec = JOB["spec"]
    module = re.match(r"python -m ray_jobs\.(\w+) ", spec["entrypoint"])[1]
    assert (REPOSITORY / "ray_jobs" / f"{module}.py").is_file()
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] > 0
    assert isinstance(yaml.safe_load(spec["runtimeEnvYAML"]), dict)
    # Elsewhere, for it loads Ray.
    sets = re.findall(r"--set (\S+)", spec["entrypoint"])
    config = "from prodcat.config import load; from prodcat.commands.classify import ClassifyJob"
    process = fresh_process(f"{config}; load(ClassifyJob, None, {sets!r})")
    assert "Error" not in process.communicate(timeout=120)[1]
    assert (process.returncode, bool(sets)) == (0, True)


# cluster.yaml. What Ray's launcher makes of it stands in tests/ray/test_cluster.py; its schema is read here without Ray.


@pytest.fixture
def launcher_schema() -> dict[str, Any]:
    (ray,) = find_spec("ray").submodule_search_locations
    schema: dict[str, Any] = json.loads((Path(ray) / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    return schema


def test_the_launcher_knows_every_key(launcher_schema: dict[str, Any]) -> None:
    jsonschema.validate(CLUSTER, launcher_schema)
    for change in ({"idle_timeout": 3}, {"available_node_types": {"cpu": {"label": {}, "resources": {}, "node_config": {}}}}):
        with pytest.raises(jsonschema.ValidationError, match="unexpected"):
            jsonschema.validate(CLUSTER | change, launcher_schema)


@pytest.mark.parametrize("name", NODES)
def test_a_node_offers_what_its_instance_has(name: str) -> None:
    cpus, gpus = INSTANCES[NODES[name]["node_config"]["InstanceType"]]
    offered = NODES[name]["resources"]
    if name == CLUSTER["head_node_type"]:
        assert offered == {"CPU": 0, "GPU": 0}
    else:
        assert (offered["CPU"], offered.get("GPU", 0)) == (cpus, gpus)


@pytest.mark.parametrize("name", NODES)
def test_labels_say_what_market_a_node_is_of(name: str) -> None:
    labels, market = NODES[name]["labels"], NODES[name]["node_config"].get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
    assert labels["market-type"] == market
    assert market in MARKETS
    # Ray keeps this prefix for itself, and refuses to start with a label that has it.
    assert [key for key in labels if key.startswith("ray.io/")] == []


def test_every_spot_type_has_a_twin_on_demand_that_comes_second() -> None:
    spot = {name: node for name, node in NODES.items() if node["labels"]["market-type"] == "spot"}
    assert {bool(node["resources"].get("GPU")) for node in spot.values()} == {True, False}
    for name, node in spot.items():
        twin = NODES[name.removesuffix("_spot")]
        assert twin["labels"]["market-type"] == "on-demand"
        assert twin["resources"] == node["resources"]
        assert twin["priority"] < node["priority"]
        assert node["min_workers"] == 0
    assert NODES[CLUSTER["head_node_type"]]["labels"]["market-type"] == "on-demand"
    # The endpoint's home.
    assert NODES["cpu"]["min_workers"] >= 1


# Ray's version and token, everywhere the same.


def dockerfile() -> Iterator[tuple[str, str]]:
    """Instruction, its arguments; continued lines joined, comments left out."""
    lines = [line for line in (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            instruction, _, rest = line.strip().partition(" ")
            yield instruction.upper(), rest.strip()


def test_one_version_of_ray_everywhere() -> None:
    ray = pinned("ray")
    defaults = dict(rest.split("=", 1) for instruction, rest in dockerfile() if instruction == "ARG")
    (base,) = [rest for instruction, rest in dockerfile() if instruction == "FROM"]
    image = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], base)
    assert image == CLUSTER["docker"]["image"] == f"rayproject/ray:{ray}-py311-gpu"
    assert {spec["rayVersion"] for spec in CLUSTERS.values()} == {ray}


def test_the_image_holds_what_it_names_and_is_nobodys_root() -> None:
    copied = [rest.split() for instruction, rest in dockerfile() if instruction == "COPY"]
    sources = {word for words in copied for word in words[:-1] if not word.startswith("--")}
    assert [source for source in sources if not (REPOSITORY / source).exists()] == []
    ignored = [line for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    # Everything is left out first (.git, .venv, runs, tests), then what is copied is let in, and nothing else.
    assert ignored[0] == "*"
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == sources
    assert [instruction for instruction, _ in dockerfile() if instruction == "ADD"] == []
    assert {rest for instruction, rest in dockerfile() if instruction == "USER"} == {"ray"}
    labels = next(rest for instruction, rest in dockerfile() if instruction == "LABEL")
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in labels
    assert {container["image"].rpartition(":")[2] for group in GROUPS.values() for container in group["template"]["spec"]["containers"]} == {version}


def blocks(text: str) -> list[str]:
    """Blocks of commands in Markdown: fenced, or indented by four."""
    return [*re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE), *re.findall(r"(?:^ {4}\S.*\n)+", text, re.MULTILINE)]


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_commands_that_start_or_ask_ray_bring_the_token(page: str) -> None:
    asking = [
        block for block in blocks((REPOSITORY / page).read_text(encoding="utf-8")) if re.search(r"\bray (start|job)\b|\bserve (run|deploy)\b", block)
    ]
    assert asking
    assert [block for block in asking if "RAY_AUTH_MODE=token" not in block] == []


def test_every_cluster_that_is_shipped_demands_the_token() -> None:
    for commands in (CLUSTER["head_start_ray_commands"], CLUSTER["worker_start_ray_commands"]):
        assert [command for command in commands if "ray start" in command and "RAY_AUTH_MODE=token" not in command] == []
        assert any("ray start" in command for command in commands)
    assert CLUSTER["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert [spec["authOptions"] for spec in CLUSTERS.values()] == [{"mode": "token", "secretName": "prodcat-ray-token"}] * 2
    assert ("ENV", "RAY_AUTH_MODE=token") in set(dockerfile())

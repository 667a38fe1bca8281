"""What infra/kubernetes and infra/kubernetes-jobs make, as kustomize puts them together."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from flows.orchestration.deployments import POOLS
from flows.orchestration.runner import GRACE_SECONDS
from tests.infra.conftest import INFRA, SECRETS, Service

Documents = list[dict[str, Any]]
POOL = json.loads((INFRA / "kubernetes" / "pool-gpu.json").read_text())
JOB = POOL["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module", params=["kubernetes", "kubernetes-jobs"])
def documents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Documents:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not there")
    copy = shutil.copytree(INFRA, tmp_path_factory.mktemp("kubernetes") / "infra", dirs_exist_ok=True)
    (copy / "kubernetes" / "secrets.env").unlink(missing_ok=True)
    subprocess.run(["sh", copy / "secrets.sh", copy / "kubernetes" / "secrets.env"], check=True)
    built = subprocess.run(["kubectl", "kustomize", copy / request.param], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def named(documents: Documents, *kinds: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in documents if found["kind"] in kinds}


def pods(documents: Documents) -> dict[str, dict[str, Any]]:
    workloads = named(documents, "Deployment", "StatefulSet")
    return {name: found["spec"]["template"]["spec"] for name, found in workloads.items()}


def workloads(documents: Documents) -> list[dict[str, Any]]:
    return list(named(documents, "Deployment", "StatefulSet").values())


def everything(found: Any, key: str) -> list[Any]:
    """Every value that stands under `key` anywhere in it."""
    if isinstance(found, list):
        return [value for part in found for value in everything(part, key)]
    if not isinstance(found, dict):
        return []
    own = [found[key]] if key in found else []
    return own + [value for part in found.values() for value in everything(part, key)]


def test_pods_may_little_and_say_what_they_need(documents: Documents) -> None:
    for name, pod in [*pods(documents).items(), ("a job", JOB)]:
        assert pod.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC", "hostUsers"}), name
        assert everything(pod, "hostPath") == [], name
        writable = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
        assert all(limit["sizeLimit"] for limit in everything(pod["volumes"], "emptyDir")), name
        assert pod["enableServiceLinks"] is False, f"{name}: MLFLOW_PORT=tcp://... would come in"
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        if name != "jobs":  # which begins jobs
            assert pod["automountServiceAccountToken"] is False, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert "/tmp" in {m["mountPath"] for m in container["volumeMounts"] if m["name"] in writable}, (
                name
            )
            for kind in ("requests", "limits"):
                assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"][kind].keys(), name
            assert re.search(r":\w*-?\d+\.\d+|^\{\{ image \}\}$", container["image"]), (
                f"{name}: {container['image']} is not pinned"
            )


def test_the_namespace_refuses_pods_that_may_more(documents: Documents) -> None:
    labels = named(documents, "Namespace")["mirl"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def allowed(documents: Documents, direction: str) -> dict[str, set[tuple[str, int]]]:
    """App -> (the other's app, port) of what the network policies let in (ingress) or out (egress)."""
    found: dict[str, set[tuple[str, int]]] = {}
    for policy in named(documents, "NetworkPolicy").values():
        for rule in policy["spec"].get(direction, []):
            others = [
                app for peer in rule.get("from", rule.get("to", [])) for app in apps(peer.get("podSelector"))
            ]
            for app in apps(policy["spec"]["podSelector"]):
                ports = [port["port"] for port in rule.get("ports", [])]
                found.setdefault(app, set()).update((other, port) for other in others for port in ports)
    return found


def apps(selector: dict[str, Any] | None) -> list[str]:
    """Names of the apps that a selector means; none where it means all pods, or an address."""
    selector = selector or {}
    named = [value for part in selector.get("matchExpressions", []) for value in part["values"]]
    return [*named, *selector.get("matchLabels", {}).values()]


def test_nobody_is_talked_to_but_by_those_who_need_it(documents: Documents) -> None:
    closed = named(documents, "NetworkPolicy")["names-only"]["spec"]
    assert closed["podSelector"] == {} and sorted(closed["policyTypes"]) == ["Egress", "Ingress"]
    assert "ingress" not in closed and {
        port["port"] for rule in closed["egress"] for port in rule["ports"]
    } == {53}
    ingress, egress = allowed(documents, "ingress"), allowed(documents, "egress")
    workers = {"control", "cpu", "gpu", "training"}
    assert ingress == {
        "postgres": {("prefect", 5432), ("mlflow", 5432)},
        "store": {(other, 8333) for other in workers | {"mlflow"}},
        "mlflow": {(other, 5000) for other in workers},
        "prefect": {(other, 4200) for other in workers | {"jobs"}},
    }
    assert egress["prefect"] == {("postgres", 5432)}
    assert egress["mlflow"] == {("postgres", 5432), ("store", 8333)}
    known = {found["spec"]["template"]["metadata"]["labels"]["app"] for found in workloads(documents)}
    assert known <= ingress.keys() | workers | {"jobs"}, "a new pod needs its rules"
    job = POOL["job_configuration"]["job_manifest"]["spec"]["template"]["metadata"]["labels"]
    assert job == {"app": "training"}


def test_pods_are_probed(documents: Documents) -> None:
    for name, pod in pods(documents).items():
        (container,) = pod["containers"]
        if name in POOLS:
            assert container["readinessProbe"]["exec"]["command"][-2:] == ["worker", name]
            assert "livenessProbe" not in container, "it would kill a training when Prefect's server is away"
            assert pod["terminationGracePeriodSeconds"] > GRACE_SECONDS
        else:
            assert {"startupProbe", "livenessProbe"} <= container.keys(), name


def test_everything_that_pods_name_is_there(documents: Documents) -> None:
    maps, claims = named(documents, "ConfigMap"), named(documents, "PersistentVolumeClaim")
    for name, pod in [*pods(documents).items(), ("a job", JOB)]:
        assert {found["name"] for found in everything(pod, "configMapRef")} <= maps.keys(), name
        assert {found["name"] for found in everything(pod, "configMap")} <= maps.keys(), name
        assert {found["claimName"] for found in everything(pod, "persistentVolumeClaim")} <= {
            *claims, "jobs-home",
        }, name  # fmt: skip
        for reference in everything(pod, "secretKeyRef"):
            assert reference["name"] == "mirl" and reference["key"] in SECRETS, name
    secret = named(documents, "Secret")["mirl"]
    assert secret["data"].keys() == set(SECRETS)
    assert all(found["metadata"].get("namespace", "mirl") == "mirl" for found in documents)


def test_each_pool_is_served_and_homes_stay(documents: Documents) -> None:
    workloads = named(documents, "Deployment", "StatefulSet")
    served = {}
    for name, pod in pods(documents).items():
        arguments = pod["containers"][0].get("args", [])
        if "flows.orchestration.deployments" in arguments:
            served[name] = arguments[-1]
            mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
            templates = everything(workloads[name]["spec"].get("volumeClaimTemplates", []), "name")
            claimed = [v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
            home = named(documents, "ConfigMap")["workers"]["data"]["MIRL_HOME"]
            assert mounts[home] in [*templates, *claimed], f"{name}: checkpoints would go with the pod"
    if "jobs" in workloads:
        arguments = pods(documents)["jobs"]["containers"][0]["args"]
        served["jobs"] = arguments[arguments.index("--pool") + 1]
    else:
        assert pods(documents)["gpu"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert sorted(served.values()) == sorted(POOLS)


def test_kubernetes_and_compose_run_the_same_images(
    documents: Documents, services: dict[str, Service]
) -> None:
    found = pods(documents)
    for name in ("postgres", "store"):
        assert found[name]["containers"][0]["image"] == services[name]["image"]
    for name in ("prefect", "mlflow", "control", "cpu"):
        assert found[name]["containers"][0]["args"] == services[name]["command"]


def test_secrets_have_a_template_only() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", INFRA / "kubernetes" / "secrets.env"], cwd=INFRA)
    assert ignored.returncode == 0
    if shutil.which("kubectl") and not (INFRA / "kubernetes" / "secrets.env").exists():
        refused = subprocess.run(
            ["kubectl", "kustomize", INFRA / "kubernetes"], capture_output=True, text=True
        )
        assert refused.returncode and "secrets.env" in refused.stderr


def test_the_job_template_names_its_variables() -> None:
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(POOL["job_configuration"])))
    assert used == POOL["variables"]["properties"].keys()


def test_a_job_is_like_a_worker_of_the_pool() -> None:
    (container,) = JOB["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert JOB["terminationGracePeriodSeconds"] > GRACE_SECONDS
    assert JOB["enableServiceLinks"] is False and JOB["securityContext"]["runAsNonRoot"] is True
    assert {"name": "home", "persistentVolumeClaim": {"claimName": "jobs-home"}} in JOB["volumes"]
    assert "MLFLOW_TRACKING_PASSWORD" in environment
    assert "command" not in container, "the image's entry point waits for checkpoints"

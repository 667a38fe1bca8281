"""What infra/compose.yaml promises: health, order, pinned images, no passwords, no open ports."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from flows.orchestration.deployments import POOLS
from flows.orchestration.runner import GRACE_SECONDS
from tests.infra.conftest import INFRA, SECRETS, Service

Services = dict[str, Service]
ONCE = {"buckets", "mlflow-database"}
"""Services that do one thing and end."""
WORKERS = {"control", "cpu", "gpu"}


def test_every_service_that_stays_has_a_health_check_and_comes_back(services: Services) -> None:
    for name in services.keys() - ONCE:
        check = services[name]["healthcheck"]
        assert check["test"][0] == "CMD" and check["interval"] and check["start_period"], name
        assert services[name]["restart"] == "unless-stopped", name


def test_services_wait_for_the_health_of_others(services: Services) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how == {"condition": wanted}, (name, other)
    assert {services[name]["restart"] for name in ONCE} == {"no"}
    waited_for = {other for service in services.values() for other in service.get("depends_on", {})}
    assert waited_for == services.keys() - WORKERS


def test_images_are_pinned_or_built_here(services: Services) -> None:
    for name, service in services.items():
        repository, _, tag = service["image"].partition(":")
        if "build" in service:
            assert (repository, tag) == ("mirl", service["build"]["target"]), name
        else:
            assert re.match(r"\d+\.\d+", tag), f"{name}: {service['image']} names no version"


def test_every_service_may_little(services: Services) -> None:
    for name, service in services.items():
        assert service["user"] in ("1000:1000", "postgres"), name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert any(place.startswith("/tmp:") and "size=" in place for place in service["tmpfs"]), name
        assert service.keys().isdisjoint(
            {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"}
        ), name
        for volume in service.get("volumes", []):
            mine = not volume.startswith((".", "$")) or volume.endswith(":ro")
            assert mine and "docker.sock" not in volume, (name, volume)


@pytest.mark.parametrize("limit", ["cpus", "mem_limit", "pids_limit"])
def test_no_service_takes_the_whole_machine(services: Services, limit: str) -> None:
    for name, service in services.items():
        most = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(service[limit]))
        assert float(most.removesuffix("g")) > 0, (name, limit)


def test_only_the_servers_reach_the_databases(services: Services) -> None:
    networks = yaml.safe_load((INFRA / "compose.yaml").read_text())["networks"]
    assert networks["databases"] == {"internal": True}
    reach = {name for name, service in services.items() if "databases" in service["networks"]}
    assert reach == {"postgres", "prefect", "mlflow", "mlflow-database"}
    assert services["postgres"]["networks"] == ["databases"] and "ports" not in services["postgres"]
    for name, service in services.items():
        for other in service.get("depends_on", {}).keys() - ONCE:
            assert set(service["networks"]) & set(services[other]["networks"]), (
                f"{name} does not reach {other}"
            )


def test_ports_are_those_of_this_machine_only(services: Services) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("${MIRL_HOST:-127.0.0.1}:") for port in ports)


def test_every_secret_is_demanded_and_no_other_value_is() -> None:
    text = (INFRA / "compose.yaml").read_text()
    used = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert {name for name, _ in used if name in SECRETS} == set(SECRETS)
    for name, rest in used:
        assert rest.startswith(":?" if name in SECRETS else (":-", ":+")), name


def test_no_password_is_written_down(services: Services) -> None:
    secret = re.compile("PASSWORD|SECRET|KEY|AUTH_STRING")
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), (name, variable)
            assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{name}: {variable} is shown and logged"


def test_each_pool_has_a_worker_of_its_own(services: Services) -> None:
    served = {}
    for name in WORKERS:
        *command, pool = services[name]["command"]
        assert command == ["python", "-m", "flows.orchestration.deployments", "worker"]
        assert services[name]["healthcheck"]["test"][-2:] == ["worker", pool]
        assert float(services[name]["stop_grace_period"].removesuffix("s")) > GRACE_SECONDS
        served[name] = pool
    assert sorted(served.values()) == sorted(POOLS)
    assert services["gpu"]["profiles"] == ["gpu"] and services["gpu"]["build"]["target"] == "gpu"
    (device,) = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_what_is_mounted_is_there_or_is_a_volume(services: Services) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).partition(":")[0]
            if source.startswith(".") and source != "./ssh":  # which people bring
                assert (INFRA / source).exists(), (name, volume)


def test_servers_ask_for_a_password_and_know_their_names(services: Services) -> None:
    prefect, mlflow = services["prefect"]["environment"], services["mlflow"]["environment"]
    assert prefect["PREFECT_SERVER_API_AUTH_STRING"] == "${PREFECT_AUTH:?run infra/secrets.sh}"
    assert {services[name]["environment"]["PREFECT_API_AUTH_STRING"] for name in WORKERS} == {
        prefect["PREFECT_SERVER_API_AUTH_STRING"]
    }
    assert "mlflow:5000" in mlflow["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert all(
        services[name]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000" for name in WORKERS
    )
    assert {"--app-name", "basic-auth"} < set(services["mlflow"]["command"])
    for name in WORKERS:
        login = services[name]["environment"]
        assert login["MLFLOW_TRACKING_USERNAME"] == mlflow["MLFLOW_AUTH_ADMIN_USERNAME"]
        assert login["MLFLOW_TRACKING_PASSWORD"] == mlflow["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert mlflow["MLFLOW_ARTIFACTS_DESTINATION"].startswith("s3://")
    assert prefect["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://")
    assert mlflow["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql+psycopg2://")
    assert (
        mlflow["MLFLOW_BACKEND_STORE_URI"]
        == services["mlflow-database"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    )


def compose(*arguments: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            known = subprocess.run([*command, "version"], capture_output=True, text=True)
            if known.returncode == 0 and "v1" not in known.stdout:
                plain = {name: value for name, value in os.environ.items() if name not in SECRETS}
                return subprocess.run(
                    [*command, "-f", str(INFRA / "compose.yaml"), *arguments],
                    env=plain | env, capture_output=True, text=True,
                )  # fmt: skip
    pytest.skip("docker compose is not there")


def test_compose_takes_it_with_secrets_only(tmp_path: Path) -> None:
    arguments = ["--env-file", os.devnull, "--profile", "gpu", "config", "--quiet"]
    refused = compose(*arguments, env={})
    assert refused.returncode and "run infra/secrets.sh" in refused.stderr
    taken = compose(*arguments, env=dict.fromkeys(SECRETS, "x"))
    assert taken.returncode == 0, taken.stderr


def test_workers_are_given_what_is_committed_and_not_the_secrets_beside_it(services: Services) -> None:
    for name in WORKERS:
        given = [volume.split(":/")[1] for volume in services[name]["volumes"]]
        assert sorted(given) == ["home/mirl/.ssh:ro", "repository/.git:ro", "var/lib/mirl"], name

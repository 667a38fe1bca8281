"""What holds across the ways to run mirl on several machines: commands, variables, versions, one description."""

import re
import shlex
import sys
from typing import Any

import mlflow.cli
import mlflow.environment_variables
import prefect.settings
import pytest
import yaml
from prefect.cli._app import _app as prefect_cli

from flows.orchestration import deployments, servers
from tests.infra.conftest import INFRA, ROOT, Service, env_file, manifests, unit

OF_OTHERS = {
    "DO_NOT_TRACK", "DVC_NO_ANALYTICS", "ITERATIVE_DO_NOT_TRACK", "PGDATA", "PGPASSWORD", "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3",
}  # fmt: skip
"""Variables of tools that keep no list of theirs."""


class Begun(Exception):
    """What a command would have begun."""


def commands() -> list[list[str]]:
    """Every command line of ours in infra/, from the program on."""
    found = [
        s["command"]
        for s in yaml.safe_load((INFRA / "compose.yaml").read_text())["services"].values()
        if "command" in s
    ]
    for _, document in manifests():
        pod = document.get("spec", {}).get("template", {}).get("spec", {})
        found += [
            c["args"] for c in [*pod.get("containers", []), *pod.get("initContainers", [])] if "args" in c
        ]
    for path in (INFRA / "systemd").glob("*.service"):
        words = shlex.split(unit(path.name)["ExecStart"][0])
        found.append(["python", *words[1:]])
    return [
        shlex.split(command[2].replace("$$", "$")) if command[0] == "sh" else command for command in found
    ]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_are_taken(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = command

    def begin(*given: Any) -> int:
        raise Begun(*given)

    monkeypatch.setattr(deployments, "worker", begin)
    monkeypatch.setattr(servers, "serve", begin)
    if program == "prefect":
        prefect_cli.parse_args(arguments, print_error=False, exit_on_error=False)
    elif program == "mlflow":
        group: Any = mlflow.cli.cli
        while hasattr(group, "commands"):
            group = group.commands[arguments.pop(0)]
        group.make_context("mlflow", arguments)
    elif arguments[:2] == ["-m", "flows.orchestration.deployments"]:
        with pytest.raises(Begun) as begun:
            deployments.main(arguments[2:])
        assert begun.value.args[0] in deployments.POOLS
    elif arguments[:2] == ["-m", "flows.orchestration.servers"]:
        monkeypatch.setattr(sys, "argv", ["servers", *arguments[2:]])
        with pytest.raises(Begun):
            servers.main()
    else:
        assert (program, arguments[0]) == ("python", "/opt/mirl/container/buckets.py")


def variables(services: dict[str, Service]) -> set[str]:
    """Names of every variable that infra/ gives to a program."""
    names = {name for service in services.values() for name in service.get("environment", {})}
    names |= env_file("server.env").keys() | env_file("worker.env").keys()
    for _, document in manifests():
        names |= set(document.get("data", {}))
        for generated in document.get("configMapGenerator", []):
            names |= {literal.partition("=")[0] for literal in generated["literals"]}
    for path in [*(INFRA / "kubernetes").iterdir(), *(INFRA / "kubernetes-jobs").iterdir()]:
        names |= set(re.findall(r'[{ ]"?name"?: "?([A-Z][A-Z0-9_]+)"?\b', path.read_text()))
    return names


def test_variables_are_read_by_somebody(services: dict[str, Service]) -> None:
    ours = "\n".join(
        path.read_text()
        for path in [
            *(ROOT / "flows").rglob("*.py"),
            *INFRA.rglob("*.sh"),
            *INFRA.rglob("*.sql"),
            *INFRA.rglob("*.service"),
        ]
    )
    of_mlflow = {option.envvar for option in mlflow.cli.cli.commands["server"].params}
    unknown = {
        name
        for name in variables(services)
        if name not in OF_OTHERS | of_mlflow
        and not name.startswith("PREFECT_INTEGRATIONS_KUBERNETES_")  # prefect-kubernetes is not here
        and not (name.startswith("PREFECT_") and hasattr(prefect.settings, name))
        and not hasattr(mlflow.environment_variables, name)
        and not re.search(rf"\b{name}\b", ours)
    }
    assert unknown == set()


def test_the_image_is_of_the_tested_python_and_packages() -> None:
    dockerfile, constraints = (INFRA / "Dockerfile").read_text(), (ROOT / "constraints.txt").read_text()
    (python,) = re.findall(r"^FROM python:(\d+\.\d+)\.\d+-", dockerfile, re.MULTILINE)
    assert f"Python {python}," in constraints.splitlines()[0]
    for command in re.findall(r"pip install [^&\n]*", dockerfile):
        known = "--require-hashes" in command or re.search(
            r"-c constraints.txt (torch|prefect-kubernetes==\S+) ", f"{command} "
        )
        assert known or "--no-deps --no-build-isolation . " in command, f"{command}: files of unknown digest"
    for package in ("prefect", "mlflow", "asyncpg", "psycopg2-binary", "boto3"):
        assert re.search(rf"^{package}==", constraints, re.MULTILINE), f"{package} is not in constraints.txt"


def test_the_image_gets_what_it_copies() -> None:
    dockerfile = (INFRA / "Dockerfile").read_text()
    sources = {
        word
        for line in re.findall(r"^COPY ((?!--from).*)$", dockerfile, re.MULTILINE)
        for word in line.split()[:-1]
    }
    let_in = {
        line[1:]
        for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert sources == let_in
    assert [name for name in sources if not (ROOT / name).exists()] == []


def test_the_page_says_of_every_file_how_it_was_tried() -> None:
    page = (INFRA / "README.md").read_text()
    names = {path.name for path in INFRA.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    ignored = {".gitignore", "README.md", ".env", "secrets.env"}
    assert sorted(name for name in names - ignored if f"{name}`" not in page) == []

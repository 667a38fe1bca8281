"""Secrets: who can read the file they are written to, and that they stand on no command line and in no address."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.conftest import INFRA, ROOT, SECRETS, Service, env_file, manifests, unit

SECRET = re.compile(r"\$[({]*\w*(PASSWORD|PASSWD|SECRET|KEY|AUTH|TOKEN|LOGIN)\w*")
"""The expansion of a variable that holds a secret."""
PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")
"""A password in an address."""
SCRIPT = INFRA / "secrets.sh"


def values(found: Any, *keys: str) -> Iterator[Any]:
    """What stands under `keys` anywhere in it."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key in keys:
                yield value
            yield from values(value, *keys)
    elif isinstance(found, list):
        for part in found:
            yield from values(part, *keys)


def command_lines() -> Iterator[tuple[str, str]]:
    """(where, line) of whatever infra/ or its page gives to a program as arguments."""
    keys = ("command", "args", "entrypoint", "test")
    for line in values(yaml.safe_load((INFRA / "compose.yaml").read_text())["services"], *keys):
        yield "compose.yaml", str(line)
    for name, document in manifests():
        for line in values(document, *keys):
            yield name, str(line)
    for path in (INFRA / "systemd").glob("*.service"):
        for key, lines in unit(path.name).items():
            if key.startswith("Exec"):
                yield from ((path.name, line) for line in lines)
    for path in [INFRA / "Dockerfile", INFRA / "store" / "start.sh", SCRIPT]:
        text = re.sub(
            r"<<(\w+)\n.*?^\1$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE
        )  # what is read
        yield from ((path.name, line) for line in text.splitlines() if not line.startswith("#"))
    for page in (INFRA / "README.md", ROOT / "README.md", ROOT / "docs" / "running.md"):
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            yield from ((page.name, line) for line in block.splitlines())


def test_no_secret_stands_on_a_command_line() -> None:
    lines = list(command_lines())
    assert len(lines) > 60
    for where, line in lines:
        assert not SECRET.search(line), f"{where}: {line} is seen by everybody in /proc, and by `docker top`"
        assert not PASSWORD.search(line), f"{where}: {line}"


def test_no_address_holds_a_password(services: dict[str, Service]) -> None:
    given = [value for service in services.values() for value in service.get("environment", {}).values()]
    given += [value for name in ("server.env", "worker.env") for value in env_file(name).values()]
    given += [
        str(value) for _, document in manifests() for value in values(document, "value", "data", "literals")
    ]
    given.append((INFRA / "mlflow" / "auth.ini").read_text())
    assert len([value for value in given if "postgresql+" in value]) >= 6
    given = [re.sub(r"\$[{(][^})]*[})]", "word", value) for value in given]
    assert [value for value in given if PASSWORD.search(value)] == []


def test_what_a_program_is_begun_with_holds_no_secret(services: dict[str, Service], tmp_path: Path) -> None:
    """The commands that go through a shell, with a program in place of theirs that says its arguments."""
    (tmp_path / "mlflow").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "mlflow").chmod(0o755)
    known = {name: f"secret-{number}" for number, name in enumerate(SECRETS)}
    through_a_shell = [s for s in services.values() if s.get("command", [""])[0] == "sh"]
    assert through_a_shell
    for service in through_a_shell:
        environment = {
            name: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: known.get(found[1], ""), str(value))
            for name, value in service["environment"].items()
        }
        assert "secret-" in str(environment)
        command = [word.replace("$$", "$") for word in service["command"]]
        environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert said and "secret-" not in said


@pytest.mark.parametrize(
    "path",
    [
        "infra/.env",
        "infra/.env.kJ3fa1",
        "infra/kubernetes/secrets.env",
        "infra/ssh/id",
        "worker.env",
        "mirl.sql.zst",
    ],
)
def test_git_takes_no_secrets(path: str) -> None:
    assert subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT).returncode == 0


def test_secrets_are_new_each_time_and_of_letters_and_digits(tmp_path: Path) -> None:
    def made(name: str) -> dict[str, str]:
        subprocess.run(["sh", INFRA / "secrets.sh", tmp_path / name], check=True)
        said = (tmp_path / name).read_text()
        return dict(line.split("=", 1) for line in said.splitlines() if line and line[0] != "#")

    one, other = made("one"), made("other")
    assert list(one) == list(other) == SECRETS
    assert len({*one.values(), *other.values()}) == 2 * len(SECRETS)
    for name, value in one.items():
        word = value.removeprefix("mirl:") if name == "PREFECT_AUTH" else value
        assert len(word) == 48 and word.isalnum(), name


def test_secrets_are_never_readable_by_others_and_never_overwritten(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    look = (
        tools / "od"
    )  # whose numbers the first secret is made of: what has been written until then is there
    look.write_text(f'#!/bin/sh\nstat -c %a "{tmp_path}"/kept* >>"{tmp_path}/modes"\necho 1234\n')
    look.chmod(0o755)
    script, plain = (
        ["sh", str(INFRA / "secrets.sh"), str(tmp_path / "kept")],
        os.environ | {"PATH": f"{tools}:/usr/bin:/bin"},
    )
    subprocess.run(script, check=True, env=plain, umask=0)
    assert set((tmp_path / "modes").read_text().split()) == {"600"}
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "kept").read_text()
    refused = subprocess.run(script, capture_output=True, text=True, umask=0)
    assert refused.returncode and "kept" in refused.stderr
    assert (tmp_path / "kept").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "modes", "tools"], "a draft is left"
    assert subprocess.run(["sh", INFRA / "secrets.sh"], capture_output=True).returncode


def test_no_secrets_are_written_without_random_numbers(tmp_path: Path) -> None:
    (tmp_path / "od").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "od").chmod(0o755)
    plain = os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    script = ["sh", str(INFRA / "secrets.sh"), str(tmp_path / "kept")]
    assert subprocess.run(script, capture_output=True, env=plain).returncode
    assert [path.name for path in tmp_path.iterdir()] == ["od"]

"""The units and their settings."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.orchestration.deployments import POOLS
from flows.orchestration.runner import GRACE_SECONDS
from tests.infra.conftest import INFRA, env_file, unit

UNITS = sorted(path.name for path in (INFRA / "systemd").glob("*.service"))


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_gives_time_for_checkpoints_and_comes_back(name: str) -> None:
    settings = unit(name)
    assert float(settings["TimeoutStopSec"][0]) > GRACE_SECONDS
    assert settings["KillMode"] == (["mixed"] if name == "mirl-server.service" else ["control-group"])
    assert settings["Restart"] == ["on-failure"]
    assert settings["User"] == ["mirl"]


def test_each_pool_is_served() -> None:
    commands = [unit(name)["ExecStart"][0] for name in UNITS]
    pools = [
        found.group(1)
        for found in (re.search(r"deployments worker (\w+)$", text) for text in commands)
        if found
    ]
    assert {"control", *pools} == set(POOLS), "the servers begin the worker of control"


def test_a_gpu_worker_sees_its_gpu_and_only_that() -> None:
    settings = unit("mirl-worker@.service")
    assert "CUDA_VISIBLE_DEVICES=%i" in settings["Environment"][0].split()
    assert settings.keys().isdisjoint({"PrivateDevices", "DeviceAllow", "MemoryDenyWriteExecute"})


@pytest.mark.parametrize("name", UNITS)
def test_what_a_unit_reads_is_there(name: str) -> None:
    settings = unit(name)
    (path,) = settings["EnvironmentFile"]
    assert path.startswith("/etc/mirl/")
    known = env_file(Path(path).name)
    assert set(re.findall(r"\$\{(\w+)\}", settings["ExecStart"][0])) <= known.keys()
    state = f"/var/lib/{settings['StateDirectory'][0]}/"
    assert known["MIRL_HOME"].startswith(state), "ProtectSystem=strict leaves nothing else to write to"


@pytest.mark.parametrize("name", ["server.env", "worker.env"])
def test_secrets_are_left_to_be_filled_in(name: str) -> None:
    for variable, value in env_file(name).items():
        if re.search("AUTH_STRING|KEY|SECRET", variable):
            assert value == "", variable
        assert not re.search(r"://\w+:[^@]+@", value), variable


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_it(name: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not there")
    text = (INFRA / "systemd" / name).read_text().replace("/opt/mirl/.venv/bin/python", sys.executable)
    path = tmp_path / name.replace("@", "@0")
    path.write_text(text)
    looked = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    said = [line for line in looked.stderr.splitlines() if name.split("@")[0] in line]
    assert (looked.returncode, said) == (0, [])

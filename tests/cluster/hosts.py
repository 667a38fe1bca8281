"""Hosts made of Linux namespaces: each has its own name, address, disk and processes, as a machine has.

They share the installed programs, which they may only read, and the network. Nothing of them is seen outside, and nothing
is left of them: a host ends with its first process, and that with ours, even at SIGKILL.
"""

import importlib.util
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 600.0  # a machine that does other work as well
DISK = "/srv"
"""Where every host has its own disk, in memory; the rest of what it sees it cannot write."""
SPACES = ("--net", "--uts", "--ipc", "--mount", "--pid")
BOOT = f"""
set -e
hostname "$1"
mount -t tmpfs -o mode=755 disk {DISK}
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs shm /dev/shm
mount -t tmpfs scratch /var/tmp
mount -o remount,bind,ro /
mkdir -m 1777 {DISK}/tmp
ip link set lo up
echo up
exec env --ignore-signal=CHLD sleep infinity
"""  # the first process leaves no dead children about
ASK = """
import base64, os, sys, urllib.error, urllib.request
body = sys.stdin.buffer.read() or None
login = base64.b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
asked = urllib.request.Request(sys.argv[1], body, headers)
try:
    sys.stdout.buffer.write(urllib.request.urlopen(asked, timeout=60).read())
except urllib.error.HTTPError as error:
    sys.exit(f"{error}: {error.read().decode()[:500]}")
"""
NEEDED = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "git": "git",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "postgres": "postgresql",
}
"""Program -> the Debian package that has it."""
PROGRAMS = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str:
    """What keeps hosts from being made here, in a sentence; empty where nothing does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts are made of Linux namespaces, which only root may make"
    for program, package in NEEDED.items():
        if find(program) is None:
            return f"{program} is missing: apt-get install {package}"
    for module in ("dvc_ssh", "psycopg2"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is missing: pip install '.[pipeline,cluster]'"
    tried = subprocess.run(
        ["unshare", *SPACES, "--fork", "true"], capture_output=True, text=True, check=False
    )
    return f"namespaces cannot be made here: {tried.stderr.strip()}" if tried.returncode else ""


def find(program: str) -> str | None:
    """Where a program is; Debian keeps those of PostgreSQL out of PATH."""
    versions = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    return shutil.which(program, path=":".join([*reversed(versions), PROGRAMS]))


def until(what: Callable[[], Answer | None], about: str, seconds: float = 0.5) -> Answer:
    """What `what` says, once that is true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (answer := what()):
        assert time.monotonic() < end, f"in vain, {PATIENCE_SECONDS:.0f} s were spent to see {about}"
        time.sleep(seconds)
    return answer


class Host:
    """One machine. Its programs are given `environment` and nothing of ours."""

    def __init__(self, name: str, logs: Path, environment: dict[str, str]) -> None:
        self.name, self._logs = name, logs
        self.environment = {
            "PATH": PROGRAMS,
            "HOME": DISK,
            "TMPDIR": f"{DISK}/tmp",
            "LANG": "C.UTF-8",
        } | environment
        end_with_us = ["setpriv", "--pdeathsig", "KILL", "unshare", "--kill-child", "--fork", "--mount-proc"]
        with (logs / f"{name}-boot.log").open("ab") as log:
            command = [*end_with_us, *SPACES, "sh", "-c", BOOT, "sh", name]
            self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n", f"{name} did not come up"
        holder = self._holder.pid
        self.first = int(Path(f"/proc/{holder}/task/{holder}/children").read_text())
        """Its first process, by our number."""

    def run(self, *command: str, folder: str = DISK, given: str = "", **more: str) -> str:
        """What a command says, stripped; its own words where it fails. `more` is added to its environment."""
        return self.run_bytes(*command, folder=folder, given=given, **more).decode().strip()

    def run_bytes(self, *command: str, folder: str = DISK, given: str = "", **more: str) -> bytes:
        done = subprocess.run(
            self._inside(command, folder),
            env=self.environment | more,
            input=given.encode(),
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}\n{said}"
        return done.stdout

    def start(self, title: str, *command: str, folder: str = DISK, **more: str) -> "subprocess.Popen[bytes]":
        """Begin a command that goes on; what it says is kept in a log named by the host and `title`."""
        with (self._logs / f"{self.name}-{title}.log").open("ab") as log:
            return subprocess.Popen(
                self._inside(command, folder), env=self.environment | more, stdout=log, stderr=log
            )

    def ask(self, address: str, body: Any = None) -> Any:
        """What a server says to this host: to a GET, or to a POST of `body`."""
        return json.loads(self.download(address, "" if body is None else json.dumps(body)))

    def download(self, address: str, given: str = "") -> bytes:
        return self.run_bytes(sys.executable, "-I", "-c", ASK, address, given=given)

    def file(self, path: str) -> Path:
        """A file of this host as we can read and write it, while the host is up."""
        return Path(f"/proc/{self.first}/root{path}")

    def processes(self) -> dict[int, str]:
        """Its processes by our numbers, with their command lines; the dead that nobody has buried do not count."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if (place / "ns/pid").readlink() == Path(f"/proc/{self.first}/ns/pid").readlink():
                    found[int(place.name)] = (place / "cmdline").read_text().replace("\0", " ").strip()
        return {process: line for process, line in found.items() if line and process != self.first}

    @property
    def is_up(self) -> bool:
        return self._holder.poll() is None

    def kill(self) -> None:
        """End it as a power cut does."""
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.first, signal.SIGKILL)
        self._holder.wait()

    def _inside(self, command: tuple[str, ...], folder: str) -> list[str]:
        return ["nsenter", f"--target={self.first}", *SPACES, "env", f"--chdir={folder}", *command]


class Network:
    """A switch, and the hosts that are plugged into it."""

    def __init__(self, logs: Path) -> None:
        self._logs, self._numbers = logs, itertools.count()
        self._switch = Host("switch", logs, {})
        self.hosts: dict[str, Host] = {}
        self._ports: dict[str, str] = {}
        self._link("add", "bridge", "type", "bridge")
        self._link("set", "bridge", "up")

    def boot(self, name: str, address: str, environment: dict[str, str]) -> Host:
        """A new host; one of that name must have ended."""
        host, port = Host(name, self._logs, environment), f"port{next(self._numbers)}"
        self.hosts[name], self._ports[name] = host, port
        self._link("add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.first))
        self._link("set", port, "master", "bridge", "up")
        host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        return host

    def cut(self, host: Host) -> None:
        """Pull its cable."""
        self._link("set", self._ports[host.name], "down")

    def mend(self, host: Host) -> None:
        """Plug it in again."""
        self._link("set", self._ports[host.name], "up")

    def end(self) -> None:
        for host in [*self.hosts.values(), self._switch]:
            host.kill()

    def _link(self, *arguments: str) -> None:
        """`ip link` in the switch, by our process numbers."""
        command = ["nsenter", f"--net=/proc/{self._switch.first}/ns/net", "ip", "link", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

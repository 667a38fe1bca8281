"""Cost of running a study on workers, beside `dvc repro` on the same machine.

Each way makes everything anew, in folders of its own, one after the other; servers and workers are begun before the
clock.

    python benchmarks/orchestration.py ways      a study by dvc repro, by one worker, by two; then with nothing changed
    python benchmarks/orchestration.py cached    a lottery over 10 and over 40 tickets that are all there already
"""

import argparse
import hashlib
import itertools
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from flows import login
from mirl.study.params import read_params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.yaml import parse_yaml, read_yaml, yaml_text

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "benchmark", "GIT_AUTHOR_EMAIL": "benchmark@localhost",
    "GIT_COMMITTER_NAME": "benchmark", "GIT_COMMITTER_EMAIL": "benchmark@localhost",
    "DVC_NO_ANALYTICS": "1",
}  # fmt: skip
START_SECONDS = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    ways = commands.add_parser("ways", help="dvc repro, one worker, two workers, nothing changed")
    ways.add_argument("--study", default="demo")
    ways.add_argument(
        "--threads", type=int, default=1, help="torch's threads of a training; two trainings share the cores"
    )
    ways.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="such as train.steps=20"
    )
    cached = commands.add_parser("cached", help="a lottery over tickets that are there already")
    cached.add_argument("--tickets", type=int, nargs="+", default=[10, 40])
    cached.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    commit = _said("git", "rev-parse", "--short", "HEAD", folder=ROOT)
    print(f"{_machine()}; commit {commit}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="orchestration-") as name:
        if wanted.what == "ways":
            return measure_ways(Path(name), wanted.study, wanted.threads, wanted.set)
        return measure_cached(Path(name), wanted.tickets, wanted.repeats)


def measure_ways(folder: Path, study: str, threads: int, changes: list[str]) -> int:
    values = read_yaml(ROOT / "studies" / f"{study}.yaml")
    values["machine"] = {"threads": threads}
    for change in changes:
        name, _, value = change.partition("=")
        section, _, key = name.rpartition(".")
        (values[section] if section else values)[key] = parse_yaml(value, "--set")
    repository = _repository(folder / "repository", values)
    print("| way | seconds | of `dvc repro` | tickets |\n|---|---|---|---|", flush=True)

    _clone(repository, folder / "plain")
    plain = _timed("dvc", "repro", "--quiet", folder=folder / "plain")
    tickets = _tickets(folder / "plain")
    print(f"| `dvc repro` | {plain:.0f} | | {len(tickets)} |", flush=True)
    again = _timed("dvc", "repro", "--quiet", folder=folder / "plain")
    same = True
    for workers in (1, 2):
        place = folder / f"workers-{workers}"
        with _cluster(repository, place, workers) as environment:
            for way in (f"lottery on {workers} worker{'s' if workers > 1 else ''}", "nothing changed"):
                seconds = _timed(
                    "prefect",
                    "deployment",
                    "run",
                    "lottery/cpu",
                    "--watch",
                    folder=place,
                    environment=environment,
                )
                _said(
                    sys.executable,
                    "-m",
                    "flows.orchestration.results",
                    folder=place / "clone",
                    environment=environment,
                )
                alike = _tickets(place / "clone") == tickets
                same &= alike
                over = f"{seconds / plain:.2f}, {seconds - plain:+.0f} s" if way != "nothing changed" else ""
                words = "the same bytes" if alike else "OTHER BYTES"
                print(f"| {way} | {seconds:.0f} | {over} | {words} |", flush=True)
    print(f"| `dvc repro`, nothing changed | {again:.0f} | | |")
    return 0 if same else 1


def measure_cached(folder: Path, counts: list[int], repeats: int) -> int:
    medians = {}
    print("| tickets | stages | seconds, median | each |\n|---|---|---|---|", flush=True)
    places = {count: _made(folder / str(count), count) for count in counts}
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(repeats):  # in turn, so that a slow minute falls on all
        for count, place in places.items():
            times[count].append(_timed(sys.executable, "-m", "flows.orchestration", folder=place))
    for count, seconds in times.items():
        medians[count] = statistics.median(seconds)
        each = " ".join(f"{value:.1f}" for value in sorted(seconds))
        print(f"| {count} | {2 * count + 3} | {medians[count]:.1f} | {each} |", flush=True)
    print(
        f"\n{counts[-1]} against {counts[0]} tickets: {medians[counts[-1]] / medians[counts[0]]:.2f} times as long"
    )
    return 0


def _made(place: Path, count: int) -> Path:
    """Make a study of `count` trainings of two steps with all its results, and return its folder."""
    names = ["init", "dense", *(f"global-r{number}" for number in range(1, count))]
    rounds = {
        name: {"arm": name.partition("-")[0], "after": before} for before, name in itertools.pairwise(names)
    }
    small = {"width": 4, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1}
    sources = {name: {"kind": "folder", "path": name, "split": name} for name in ("train", "test")}
    values = {
        "study": f"cached-{count}",
        "data": {"root": "photographs", "sources": sources},
        "network": {"name": "nafnet", "options": small},
        "train": {
            "steps": 2,
            "learning_rate": 0.001,
            "record_every": 1,
            "batches": {"batch": 5, "patch": 16},
        },
        "arms": {
            "dense": {"method": "dense"},
            "global": {"method": "imp", "schedule": "authors", "fraction": 0.02},
        },
        "rounds": rounds,
        "evaluate": {"pictures": 1},
        "promote": {},
        "machine": {"threads": 1},
    }
    rng = np.random.default_rng(0)
    images = {
        f"photographs/{name}/{number}.png": Image.fromarray(
            rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        ).resize((48, 40))
        for name in ("train", "test")
        for number in range(4)
    }
    repository = _repository(place, values, images)
    study = Study(root=repository, params=read_params(repository / "params.yaml"))
    torch.set_num_threads(1)
    for stage, keys in {
        "prepare": [""],
        "init": [""],
        "round": rounds,
        "evaluate": rounds,
        "compare": [""],
    }.items():
        for key in keys:
            STAGES[stage](study, key)  # as DVC would, in one process: seconds instead of minutes
    _said("dvc", "commit", "--force", "--quiet", folder=repository)
    _timed(sys.executable, "-m", "flows.orchestration", folder=repository)  # brings the tickets into MLflow
    return repository


def _repository(place: Path, values: dict[str, Any], images: dict[str, Image.Image] | None = None) -> Path:
    """Clone this repository at its commit, commit other parameters and more images, and return the clone's folder."""
    _clone(ROOT, place)
    (place / "params.yaml").write_text(yaml_text(values))
    for name, image in (images or {}).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(place / name)
    _said("git", "add", "--all", "--force", *(images or {}), "params.yaml", folder=place)
    _said("git", "commit", "--quiet", "--message", "a study to measure", folder=place)
    return place


def _clone(repository: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    _said("git", "clone", "--quiet", str(repository), str(place), folder=place.parent)


@contextmanager
def _cluster(repository: Path, place: Path, workers: int) -> Iterator[dict[str, str]]:
    """Run the servers and workers of the pool cpu, with folders of their own, and yield their variables.

    All end with the block.
    """
    _clone(repository, place / "clone")
    environment = ENVIRONMENT | {
        "PREFECT_HOME": str(place / "prefect"), "MIRL_HOME": str(place / "home"),
        "MIRL_CACHE": str(place / "clone" / ".dvc" / "cache"), "PREFECT_API_URL": "http://127.0.0.1:4200/api",
    }  # fmt: skip
    environment.pop("MLFLOW_TRACKING_URI", None)
    with ExitStack() as stack:
        servers = stack.enter_context(_begun("flows.orchestration.servers", place / "clone", environment))
        _await_start(servers)  # the last to start is the worker that runs lotteries
        environment |= login.kept(place / "clone")
        registered = ["-m", "flows.orchestration.deployments", "register", "--repository", str(repository)]
        _said(sys.executable, *registered, folder=place / "clone", environment=environment)
        for _ in range(workers):
            log = stack.enter_context(
                _begun("flows.orchestration.deployments worker cpu", place / "clone", environment)
            )
            _await_start(log)
        yield environment


def _await_start(place: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while "started" not in (place / "log").read_text():
        if time.monotonic() > until:
            raise SystemExit((place / "log").read_text())
        time.sleep(0.5)


@contextmanager
def _begun(module: str, folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """Run a program of ours and yield a folder that has its log; at the end the program and all it began are ended."""
    place = Path(tempfile.mkdtemp(dir=folder.parent))
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.child_process", str(os.getpid()), *module.split()],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield place
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _timed(*command: str, folder: Path, environment: dict[str, str] | None = None) -> float:
    begun = time.monotonic()
    _said(*command, folder=folder, environment=environment)
    return time.monotonic() - begun


def _said(*command: str, folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment or ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def _tickets(folder: Path) -> dict[str, str]:
    paths = sorted(folder.glob("tickets/*/ticket.safetensors"))
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    return (
        f"{model}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, load before {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())

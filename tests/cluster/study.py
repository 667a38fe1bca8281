"""A study of five short trainings in two arms, and the repository it is in."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import Host

ROOT = Path(__file__).parents[2]
WORKERS_GET = ["dvc.yaml", ".dvc", ".dvcignore", ".gitignore", "data/demo", "flows", "mirl", "studies"]
PARAMS: dict[str, Any] = {
    "study": "calm",
    "data": {"root": "data/demo", "sources": {"photographs": {"kind": "skimage"}}},
    "network": {
        "name": "nafnet",
        "options": {"width": 8, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1},
    },
    "train": {
        "steps": 300,
        "rewind_step": 30,
        "learning_rate": 0.002,
        "seed": 1,
        "record_every": 20,
        "batches": {"batch": 4, "patch": 32},
    },
    "arms": {
        "dense": {"method": "dense"},
        "global": {"method": "imp", "schedule": "authors", "scope": "global", "fraction": 0.3},
        "layerwise": {"method": "imp", "schedule": "authors", "scope": "layerwise", "fraction": 0.3},
    },
    "rounds": {
        "dense": {"arm": "dense", "after": "init"},
        "global-r1": {"arm": "global", "after": "dense"},
        "global-r2": {"arm": "global", "after": "global-r1"},
        "layerwise-r1": {"arm": "layerwise", "after": "dense"},
        "layerwise-r2": {"arm": "layerwise", "after": "layerwise-r1"},
    },
    "evaluate": {"limit": 1, "pictures": 1, "picture_size": 64},
    "promote": {},
    "machine": {"threads": 1, "checkpoint_seconds": 0.5},
}
ROUNDS = tuple(PARAMS["rounds"])


def write_repository(host: Host, folder: str, git: str, dvc: str) -> None:
    """The study beside the code as it lies here, committed and pushed to `git`; DVC's remote is `dvc`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *WORKERS_GET]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    root = host.file(folder)
    for name in filter(lambda name: (ROOT / name).is_file(), listed):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    for words in (
        "git init --quiet --initial-branch main",
        f"git remote add origin {git}",
        f"dvc remote add --default far {dvc}",
        "git add --all",
        "git commit --quiet --message study",
        "git push --quiet origin main",
    ):
        host.run(*words.split(), folder=folder)


def change(params: Path, changes: dict[str, Any]) -> None:
    """Put values into a params.yaml by their dotted names."""
    values = yaml.safe_load(params.read_text())
    for name, value in changes.items():
        *parts, last = name.split(".")
        place = values
        for part in parts:
            place = place[part]
        place[last] = value
    params.write_text(yaml.safe_dump(values, sort_keys=False))


def tickets(host: Host, folder: str) -> dict[str, str]:
    """sha256 of every ticket in a clone, by its name."""
    lines = host.run("sh", "-c", "sha256sum tickets/*/ticket.safetensors", folder=folder).splitlines()
    found = (line.split() for line in lines)
    return {Path(path).parent.name: digest for digest, path in found}

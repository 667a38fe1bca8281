"""A repository with a small pipeline of shell commands, in the shape of the real one: DVC, git, no training."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

DVC_YAML = """
stages:
  begin:
    cmd: mkdir -p made/init && cp source/word made/init/word
    deps: [source]
    outs: [made/init]
  link:
    foreach: ${rounds}
    do:
      meta: {gpu: true}
      cmd: exec sh link.sh ${key} ${item.after}
      params: [train, "arms.${item.arm}"]
      deps: ["made/${item.after}/word", link.sh]
      outs: ["made/${key}"]
  judge:
    foreach: ${rounds}
    do:
      cmd: mkdir -p judged/${key} && wc -c < made/${key}/word | sed 's/.*/{"psnr_db\\/mean":&}/' > judged/${key}/metrics.json
      deps: ["made/${key}/word"]
      metrics: ["judged/${key}/metrics.json"]
  total:
    cmd: cat judged/*/metrics.json > total.txt
    deps: [judged]
    outs: [total.txt]
"""
LINK = 'mkdir -p "made/$1"; (cat "made/$2/word"; echo "$1") > "made/$1/word"; echo "linked $1"\n'
PARAMS = {
    "study": "words",
    "data": {"root": "source", "sources": {"all": {"kind": "folder", "path": ".", "split": "train"}}},
    "network": {"name": "nafnet", "options": {}},
    "train": {"steps": 3},
    "arms": {
        "dense": {"method": "dense"},
        "global": {"method": "imp", "schedule": "authors", "fraction": 0.3},
    },
    "rounds": {
        "dense": {"arm": "dense", "after": "init"},
        "r1": {"arm": "global", "after": "dense"},
        "r2": {"arm": "global", "after": "r1"},
    },
    "evaluate": {},
    "promote": {},
}


def run(folder: Path, *command: str) -> str:
    """What a command says; its own words where it fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    quiet = {"DVC_NO_ANALYTICS": "1", "PATH": path, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}
    quiet |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "SHELL": "/bin/sh"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | quiet)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def make_repository(root: Path) -> Path:
    """The pipeline in a repository of one commit, nothing made yet."""
    (root / "source").mkdir(parents=True)
    (root / "source" / "word").write_text("word\n")
    (root / "studies").mkdir()
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "link.sh").write_text(LINK)
    for path in (root / "params.yaml", root / "studies" / "words.yaml"):
        path.write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    (root / ".gitignore").write_text("/made/\n/judged/\n/total.txt\n/.mirl/\n/mlflow.db*\n/mlartifacts/\n")
    run(root, "git", "init", "--quiet", "--initial-branch", "main")
    run(root, "dvc", "init", "--quiet")
    run(root, "dvc", "config", "core.analytics", "false")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "begin")
    return root

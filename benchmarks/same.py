"""Check that a change of the code moves no byte: two commits train two studies here, and their files are compared.

    make same BASE=<commit>

The first side is BASE, the second the working tree with everything that git would add. Each is checked out into a
folder of its own below .mirl/same, where `dvc repro` runs the studies `demo` and `arms`; then the dense and the
smallest ticket of each restore pictures, whole and in tiles. A side that was made before is not made again. Compared
are every ticket, origin and prepared file, histories, scores, comparison.csv, decision.json and the restored pictures,
without the columns that tell how long something took.

Exit codes: 0 the same; 1 something differs, and the first difference is named; 2 a side could not be made.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from safetensors import safe_open

ROOT = Path(__file__).parents[1]
STUDIES = ("demo", "arms")
TIMED = ("seconds", "images_per_second", "joules")
"""Parts of the names of columns and keys that tell how long something took, or what it drew."""
TILED_MEMORY = "72M"
"""Memory limit at which a picture of the report is restored in tiles."""
STAGES = ("data/prepared", "tickets", "scores", "report", "restored")
"""The folders that are compared, in the order in which they are made."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", help="the commit that the working tree is compared with")
    parser.add_argument("--study", choices=STUDIES, action="append", help="only this study (default: both)")
    wanted = parser.parse_args(arguments)
    differences: list[str] = []
    try:
        base, ours = git("rev-parse", "--verify", f"{wanted.base}^{{commit}}"), working_tree()
        for study in wanted.study or STUDIES:
            sides = [made(commit, study) for commit in (base, ours)]
            differences += [f"{study}: {line}" for line in compared(*sides)]
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
        return 2
    print("\n".join(differences) or f"every byte is that of {wanted.base}")
    return 1 if differences else 0


def git(*arguments: str, **environment: str) -> str:
    """Return what a git command prints, without blanks at the ends."""
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def working_tree() -> str:
    """Commit the working tree as it is, with untracked files that git does not ignore; return the commit.

    No branch moves.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        git("read-tree", "HEAD", GIT_INDEX_FILE=index)
        git("add", "--all", GIT_INDEX_FILE=index)
        tree = git("write-tree", GIT_INDEX_FILE=index)
    author = {f"GIT_{who}_{what}": "same" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return git("commit-tree", tree, "-p", "HEAD", "-m", "the working tree", **author)


def made(commit: str, study: str) -> Path:
    """Return the folder in which `commit` has run `study`; one of the same files that was finished before is reused."""
    tree = git("rev-parse", f"{commit}^{{tree}}")
    params = _params(commit, study)
    folder = (
        ROOT / ".mirl" / "same" / f"{tree[:12]}-{hashlib.sha256(params).hexdigest()[:6]}" / study
    ).resolve()
    if (folder / "finished").exists():
        return folder
    print(f"{study} at {commit[:12]}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(folder))
    git("-C", str(folder), "checkout", "--quiet", "--detach", commit)
    (folder / "params.yaml").write_bytes(params)
    run(folder, sys.executable, "-c", f"import mirl; assert mirl.__path__[0].startswith({str(folder)!r})")
    run(folder, str(Path(sys.executable).with_name("dvc")), "repro", "--quiet")
    restore(folder)
    (folder / "finished").touch()
    return folder


def _params(commit: str, study: str) -> bytes:
    """Return the study as the commit has it; if the commit has none of that name, as the working tree does."""
    path = f"studies/{study}.yaml"
    if git("ls-tree", "--name-only", commit, path):
        return (git("show", f"{commit}:{path}") + "\n").encode()
    return (ROOT / path).read_bytes()


def restore(folder: Path) -> None:
    """Restore the pictures of the report with the dense and the smallest ticket, whole and in tiles."""
    tickets = sorted((folder / "tickets").glob("*/ticket.safetensors"), key=lambda path: path.stat().st_size)
    pictures = sorted(map(str, (folder / "scores/dense/pictures").glob("*--input.png")))
    for name, ticket in (("dense", folder / "tickets/dense/ticket.safetensors"), ("smallest", tickets[0])):
        # First to compile the kernels: those that the compiler hands over differ from those that were kept by a rounding.
        for out, memory in (("again", "1G"), (name, "1G"), (f"{name}-tiled", TILED_MEMORY)):
            command = [sys.executable, "-m", "mirl.command.main", "restore"]
            options = ["--ticket", str(ticket), "--memory", memory, "--threads", "2", "--force"]
            chosen = pictures if out != "again" else pictures[:1]
            run(folder, *command, *chosen, "-o", f"restored/{out}/", *options)
    shutil.rmtree(folder / "restored/again")


def run(folder: Path, *command: str) -> None:
    """Run a command on the sources in `folder`; its progress bars go to the terminal."""
    python = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def compared(base: Path, ours: Path) -> Iterator[str]:
    """Yield a line for each file that differs between two sides, in the order in which the files are made."""
    for file in files(base, ours):
        sides = base / file, ours / file
        if missing := [side for side in sides if not side.exists()]:
            yield f"{file} is missing {'there' if missing[0] == sides[0] else 'here'}"
        elif contents(sides[0]) != contents(sides[1]):
            yield f"{file} differs{difference(*sides)}"


def files(*sides: Path) -> list[Path]:
    """Return the files of all sides: stage by stage, and in a stage from the oldest to the youngest of the first."""
    found = {
        path.relative_to(side): (STAGES.index(stage), path.stat().st_mtime_ns)
        for side in reversed(sides)
        for stage in STAGES
        for path in (side / stage).rglob("*")
        if path.is_file() and contents(path)
    }
    return sorted(found, key=lambda file: (found[file], file))


def contents(path: Path) -> str:
    """Return the digest of what must be the same in a file; an empty string if the file is not compared."""
    read = READERS.get(path.name) or READERS.get(path.suffix)
    return hashlib.sha256(read(path)).hexdigest() if read else ""


def _untimed_table(path: Path) -> bytes:
    frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    kept = [column for column in frame.columns if not _is_timed(column)]
    return frame[kept].to_csv(index=False).encode()


def _untimed_values(path: Path) -> bytes:
    values = {key: value for key, value in json.loads(path.read_text()).items() if not _is_timed(key)}
    return json.dumps(values, sort_keys=True).encode()


def _is_timed(name: str) -> bool:
    return any(part in name for part in TIMED)


READERS: dict[str, Callable[[Path], bytes]] = {
    ".safetensors": Path.read_bytes,
    ".arrow": Path.read_bytes,
    ".png": Path.read_bytes,
    "manifest.parquet": Path.read_bytes,
    "history.parquet": Path.read_bytes,
    "scores.parquet": _untimed_table,
    "comparison.csv": _untimed_table,
    ".csv": _untimed_table,
    "metrics.json": _untimed_values,
    "findings.json": Path.read_bytes,
    "decision.json": Path.read_bytes,
}
"""Name or ending of a file -> function that returns what is compared; others (the report's page) are not compared."""


def difference(base: Path, ours: Path) -> str:
    """Return what differs between two tickets or states, as far as their parts tell; "" for other files."""
    if base.suffix != ".safetensors":
        return ""
    parts: list[dict[str, object]] = []
    for path in (base, ours):
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("mirl", "{}"))
            tensors = {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118
        header.pop("content", None)
        parts.append({**{f"header {key}": value for key, value in header.items()}, **tensors})
    names = sorted(key for key in parts[0].keys() | parts[1].keys() if parts[0].get(key) != parts[1].get(key))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f": {', '.join(names[:3])}{more}" if names else ": the order of its parts"


if __name__ == "__main__":
    sys.exit(main())

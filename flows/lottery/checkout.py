"""Private clones: a stage runs in a folder of its own, at the exact revision, beside whatever else is going on."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mirl.config import UserError


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What to check out: every machine that can reach the repository gets the same files."""

    repository: str
    """What `git clone` takes: an address, or the folder of a repository on this machine."""
    commit: str
    """40 hex digits."""
    params: str | None = None
    """Text of params.yaml, where it is not the one that is committed."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where a machine keeps its clones, what they share, and what must outlive a kill."""

    folder: Path
    cache: Path
    """DVC's cache, one for all clones: they get links into it, not copies."""

    @classmethod
    def of(cls, folder: str = "", cache: str = "") -> "Home":
        """By default MIRL_HOME, else `~/.cache/mirl`; and MIRL_CACHE, else a cache in it."""
        home = Path(folder or os.environ.get("MIRL_HOME") or Path.home() / ".cache" / "mirl").absolute()
        return cls(
            folder=home, cache=Path(cache or os.environ.get("MIRL_CACHE") or home / "cache").absolute()
        )

    @contextmanager
    def clone(self, revision: Revision) -> Iterator[Path]:
        """A clone at `revision`, which nobody else uses until the end.

        Clones are used again, cleaned; there are as many as ever worked at once. Resume checkpoints are shared
        by all of them. UserError where the repository or the revision cannot be reached.
        """
        with self._free_place() as place:
            _check_out(place, revision)
            _configure(place, self.cache)
            _link(place / ".mirl" / "resume", self.folder / "resume")
            if revision.params is not None:
                (place / "params.yaml").write_text(revision.params)
            yield place

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold the work named `key` on this machine; a second one waits, for two must not write one checkpoint."""
        path = self.folder / "running" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _free_place(self) -> Iterator[Path]:
        (self.folder / "clones").mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            place = self.folder / "clones" / str(number)
            with place.with_suffix(".lock").open("a") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    number += 1
                    continue
                yield place
                return


def resolve(repository: str, name: str) -> str:
    """The commit that a branch, a tag or a commit of `repository` is; UserError where it is none there."""
    if re.fullmatch("[0-9a-f]{40}", name):
        return name
    found = git(Path(), "ls-remote", repository, name).split()
    if not found:
        raise UserError(
            f"{repository} has no {name!r}; name a branch, a tag or a whole commit that was pushed"
        )
    return found[0]


def refuse_changes(root: Path) -> None:
    """UserError where a tracked file was changed and not committed: workers get what is committed.

    params.yaml and dvc.lock may have been: their text travels with the work.
    """
    lines = git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    changed = [line[3:] for line in lines if line[3:] not in ("params.yaml", "dvc.lock")]
    if changed:
        raise UserError(
            f"{changed[0]}{' and others were' if changed[1:] else ' was'} changed and not committed; "
            "workers get what is committed: commit it, or put it aside with `git stash`"
        )


def git(folder: Path, *arguments: str) -> str:
    """What `git` says, stripped; UserError with git's last line where it fails."""
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    asked = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"git {arguments[0]} failed in {folder}: {said[-1]}")
    return asked.stdout.strip("\n")


def _check_out(place: Path, revision: Revision) -> None:
    if not (place / ".git").exists():
        shutil.rmtree(place, ignore_errors=True)  # left by a kill
        draft = place.with_name(f"{place.name}.making")
        shutil.rmtree(draft, ignore_errors=True)
        git(place.parent, "clone", "--quiet", "--no-checkout", revision.repository, str(draft))
        draft.rename(place)
    git(place, "remote", "set-url", "origin", revision.repository)
    if not _has(place, revision.commit):
        git(place, "fetch", "--quiet", "--force", "origin", "+refs/*:refs/remotes/origin/*")
    if not _has(place, revision.commit):
        raise UserError(
            f"the revision {revision.commit[:10]} is not in {revision.repository}; `git push` it, so that "
            "workers can reach it"
        )
    (place / ".git" / "index.lock").unlink(missing_ok=True)  # left by a kill: nobody else works here
    git(place, "checkout", "--quiet", "--force", "--detach", revision.commit)
    git(place, "clean", "-ffdxq", "--exclude=.dvc/tmp", "--exclude=.mirl")


def _has(place: Path, commit: str) -> bool:
    asked = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=place, capture_output=True, check=False
    )
    return asked.returncode == 0


def _configure(place: Path, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    (place / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache}\n")


def _link(place: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
        place.symlink_to(target)

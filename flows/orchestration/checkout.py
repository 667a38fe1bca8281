"""Private clones: a stage runs in a folder of its own, at the exact revision, beside whatever else is going on."""

import fcntl
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from mirl.config import Stopped, UserError
from mirl.files import write_whole
from mirl.terminal import printable

POLL_SECONDS = 0.5
PROTOCOLS = "file:git:http:https:ssh"
"""Protocols by which git may fetch; `ext::` would run a command. git's own GIT_ALLOW_PROTOCOL allows others."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """Revision to check out, from which every machine that can reach the repository gets the same files."""

    repository: str
    """Address, or folder of a repository on this machine, that `git clone` takes."""
    commit: str
    """Commit as 40 hex digits."""
    params: str | None = None
    """Text of params.yaml, if it is not the one that is committed."""

    def __post_init__(self) -> None:
        """Raise UserError if git would take the repository for something else, or the commit is not 40 hex digits."""
        refuse_commands(self.repository)
        if not re.fullmatch("[0-9a-f]{40}", self.commit):
            raise UserError(f"the commit is {self.commit!r}, expected 40 hex digits; name it whole")


@dataclass(frozen=True, kw_only=True)
class CloneFolder:
    """Folder in which a machine keeps its clones, what the clones share, and what must outlive a kill."""

    folder: Path
    cache: Path
    """DVC's cache, one for all clones: they get links into it, not copies."""

    @classmethod
    def of(cls, folder: str = "", cache: str = "") -> "CloneFolder":
        """Return the clone folder at `folder`, with DVC's cache at `cache`.

        The defaults are MIRL_HOME, else `~/.cache/mirl`, for the folder, and MIRL_CACHE, else `cache` in the folder.
        """
        home = Path(folder or os.environ.get("MIRL_HOME") or Path.home() / ".cache" / "mirl").absolute()
        return cls(
            folder=home, cache=Path(cache or os.environ.get("MIRL_CACHE") or home / "cache").absolute()
        )

    @contextmanager
    def clone(self, revision: Revision) -> Iterator[Path]:
        """Yield a clone at `revision`, which nobody else uses until the end.

        Clones are cleaned and used again; there are as many as ever worked at once. All of them share the resume
        checkpoints. Raises UserError if the repository or the revision cannot be reached.
        """
        with self._free_clone() as clone:
            _check_out(clone, revision)
            _configure(clone, self.cache)
            _link(clone / ".mirl" / "resume", self.folder / "resume")
            if revision.params is not None:
                (clone / "params.yaml").write_text(revision.params, "utf-8")
            yield clone

    @contextmanager
    def exclusive(self, key: str, may_go_on: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Hold the work named `key` on this machine; a second process waits, for two must not write one checkpoint.

        Raises Stopped if `may_go_on` returns False while this one waits.
        """
        with _opened(self.folder / "running" / key) as handle:
            while not _taken(handle):
                if not may_go_on():
                    raise Stopped("stopped while another process did the same work")
                time.sleep(POLL_SECONDS)
            yield

    def store_result(self, key: str, done: str) -> None:
        """Keep the result of the work `key`, as text."""
        path = self.folder / "done" / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, done.encode())

    def stored_result(self, key: str) -> str | None:
        """Return the text that `store_result` kept for the work `key`, or None."""
        path = self.folder / "done" / f"{key}.json"
        return path.read_text() if path.exists() else None

    def lock_files(self, key: str, clone: Path) -> str:
        """Return the files that a stage locks while it lives, joined by `os.pathsep`.

        A stage may outlive for a while the process that began it (see flows.stage).
        """
        return os.pathsep.join(
            map(str, (self.folder / "running" / f"{key}.busy", clone.with_suffix(".busy")))
        )

    @contextmanager
    def _free_clone(self) -> Iterator[Path]:
        for number in itertools.count():
            clone = self.folder / "clones" / str(number)
            with _opened(clone.with_suffix(".lock")) as mine, _opened(clone.with_suffix(".busy")) as stage:
                if not (_taken(mine) and _taken(stage)):
                    continue
                fcntl.flock(stage, fcntl.LOCK_UN)  # for the stage that is to be run here
                yield clone
                return


def resolve(repository: str, name: str) -> str:
    """Return the commit that a branch, a tag or a whole commit of `repository` names.

    Raises UserError if the repository has none of that name, or its address names a command or holds a secret.
    """
    refuse_commands(repository)
    refuse_secrets(repository)
    if re.fullmatch("[0-9a-f]{40}", name):
        return name
    exact = [f"refs/tags/{name}^{{}}", f"refs/tags/{name}", f"refs/heads/{name}", name]
    lines = git(Path(), "ls-remote", "--", repository, *exact).splitlines()
    found = {ref: commit for commit, ref in (line.split("\t") for line in lines)}
    commit = next((found[ref] for ref in exact if ref in found), None)
    if commit is None:
        raise UserError(
            f"{repository} has no {name!r}; name a branch, a tag or a whole commit that was pushed"
        )
    return commit


def refuse_commands(repository: str) -> None:
    """Raise UserError if git would take the address for an option of its own, or run a command named in it."""
    is_plain = re.fullmatch(r"[^\s:-][^\x00-\x1f\x7f]*", repository) and not re.match(
        r"\w[\w+.-]*::", repository
    )
    try:
        urlsplit(repository)
    except ValueError:
        is_plain = False
    if not is_plain:
        raise UserError(
            f"the repository's address is {repository!r}, expected a folder, or an address by https, ssh or git"
        )


def refuse_secrets(repository: str) -> None:
    """Raise UserError if the address holds a password, or a token in its place: the secret would be kept and shown."""
    parts = urlsplit(repository)
    if parts.password or (parts.scheme in ("http", "https") and parts.username):
        raise UserError(
            "the repository's address holds a password or a token; let git find it (`git help credentials`)"
        )


def refuse_changes(root: Path, read: Iterable[str]) -> None:
    """Raise UserError if workers would not get the files that lie here, because workers get what is committed.

    That is the case if a tracked file was changed (params.yaml and dvc.lock may be: their text travels with the work),
    or a new one lies in `read`, the paths that stages read.
    """
    changed = git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    new = git(root, "status", "--porcelain", "--untracked-files=all", "--", *read).splitlines()
    names = {line[3:] for line in [*changed, *new]} - {"params.yaml", "dvc.lock"}
    if names:
        first, *more = sorted(names)
        raise UserError(
            f"{first}{f' and {len(more)} others are' if more else ' is'} new or changed and not committed; "
            "workers get what is committed: commit it, or put it aside with `git stash --include-untracked`"
        )


def git(folder: Path, *arguments: str) -> str:
    """Run a git command and return its output without newlines at the ends.

    Raises UserError with git's last line if the command fails.
    """
    environment = {"GIT_ALLOW_PROTOCOL": PROTOCOLS} | os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    asked = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    if asked.returncode:
        # what git says after this is what it guesses
        reason, _, _ = asked.stderr.strip().partition("\nfatal: Could not read from remote repository")
        said = reason.splitlines() or ["no reason given"]
        raise UserError(f"git {arguments[0]} failed in {folder}: {printable(said[-1])}")
    return asked.stdout.strip("\n")


def _check_out(clone: Path, revision: Revision) -> None:
    if not (clone / ".git").exists():
        shutil.rmtree(clone, ignore_errors=True)  # left by a kill
        draft = clone.with_name(f"{clone.name}.making")
        shutil.rmtree(draft, ignore_errors=True)
        git(clone.parent, "clone", "--quiet", "--no-checkout", "--", revision.repository, str(draft))
        draft.rename(clone)
    git(clone, "remote", "set-url", "--", "origin", revision.repository)
    if not _has(clone, revision.commit):
        git(clone, "fetch", "--quiet", "--force", "origin", "+refs/*:refs/remotes/origin/*")
    if not _has(clone, revision.commit):
        raise UserError(
            f"the revision {revision.commit[:10]} is not in {revision.repository}; `git push` it, so that "
            "workers can reach it"
        )
    (clone / ".git" / "index.lock").unlink(missing_ok=True)  # left by a kill: nobody else works here
    git(clone, "checkout", "--quiet", "--force", "--detach", revision.commit)
    git(clone, "clean", "-ffdxq", "--exclude=.dvc/tmp", "--exclude=.mirl")


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        yield handle


def _taken(handle: IO[str]) -> bool:
    """Lock the file and return True, or return False if another process holds the lock.

    Closing the file frees the lock, and so does the end of the process.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has(clone: Path, commit: str) -> bool:
    asked = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=clone, capture_output=True, check=False
    )
    return asked.returncode == 0


def _configure(clone: Path, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    (clone / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache}\n")


def _link(link: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        shutil.rmtree(link, ignore_errors=True)
        link.symlink_to(target)

"""Interface to DVC's graph: every stage of dvc.yaml as a plain value, and whether its last result still holds.

All that is asked of DVC's Python interface is asked here.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage, Stage
from dvc_data.hashfile.tree import Tree

from flows.locks import Lock
from flows.remote import check_host_keys
from mirl.config import UserError, fingerprint


@dataclass(frozen=True, kw_only=True)
class Node:
    """One stage of dvc.yaml."""

    name: str
    """DVC's address of the stage, such as `round@global-r3`."""
    after: tuple[str, ...]
    """Names of the stages whose results this stage reads."""
    gpu: bool
    """True if the stage is worth a GPU: `meta: {gpu: true}` in dvc.yaml."""
    own: dict[str, Any]
    """Command, parameters, outs, and the digests of the inputs that no stage makes: source and data."""
    sources: tuple[str, ...]
    """`.dvc` files of the data that the stage reads and `dvc add` brought in."""
    metrics: tuple[str, ...]
    """Paths of the stage's metrics files."""
    current: bool
    """True if dvc.lock says that the stage was made from what it would be made from now, and the result is at hand."""

    @property
    def title(self) -> str:
        """Name for people, such as `round global-r3`."""
        return self.name.replace("@", " ")

    def key(self, lock: Lock) -> str:
        """Return the fingerprint of this piece of work, 64 hex digits; `lock` must have the entries of all in `after`.

        The same key is the same work, in whichever study, on whichever machine.
        """
        made = {out["path"]: out["md5"] for name in self.after for out in lock[name]["outs"]}
        return fingerprint({"stage": self.name, "own": self.own}, made)


def read_graph(root: Path, targets: Sequence[str] = ()) -> dict[str, Node]:
    """Return the stages of dvc.yaml in `root` by name, each behind the stages before it; only what `targets` need.

    Raises UserError if dvc.yaml or params.yaml is wrong, a target is no stage, or a stage reads what is not there.
    """
    with _opened(root) as repo:
        graph, external = repo.index.graph, _ExternalInputs(repo)
        nodes: dict[str, Node] = {}
        for stage in _needed(graph, targets):
            before = _before(graph, stage)
            made = [out for other in before for out in other.outs]
            after = tuple(sorted(other.name for other in before))
            own = _own(stage, made, external)
            nodes[stage.name] = Node(
                name=stage.name,
                after=after,
                gpu=bool((stage.meta or {}).get("gpu", False)),
                own=own,
                sources=external.files(stage),
                metrics=tuple(out.def_path for out in stage.outs if out.metric),
                current=all(nodes[name].current for name in after) and _holds(stage, made, own),
            )
        return nodes


def read_sources(root: Path) -> list[str]:
    """Return the sorted paths of the source and data that stages read and no stage makes; no digest is looked at."""
    with _opened(root) as repo:
        graph, paths = repo.index.graph, set()
        for stage in _needed(graph, ()):
            made = [out for other in _before(graph, stage) for out in other.outs]
            paths |= {dep.def_path for dep in stage.deps if _is_source(dep, made)}
        return sorted(paths)


def changed_sources(root: Path) -> list[str]:
    """Return the paths of data that `dvc add` brought in and that was changed since."""
    with _opened(root) as repo:
        outs = [out for out in repo.index.outs if out.stage.is_data_source and out.exists]
        return [out.def_path for out in outs if out.changed_checksum()]


def has_remote(root: Path) -> bool:
    """Return whether DVC knows a default remote to push results to."""
    with _opened(root) as repo:
        return bool(repo.config["core"].get("remote"))


def refuse_closed_remote(root: Path) -> None:
    """Raise UserError if there is a default remote that cannot be reached, or does not let us in."""
    with _opened(root) as repo:
        name = repo.config["core"].get("remote")
        if not name:
            return
        try:
            remote = repo.cloud.get_remote_odb()
            with suppress(FileNotFoundError):  # nothing was pushed yet
                remote.fs.ls(remote.path)
        except Exception as error:  # every kind of remote has errors of its own
            said = " ".join(str(error).split()) or type(error).__name__
            mend = "see `dvc remote modify --help` for keys and passwords"
            if type(error).__name__ == "HostKeyNotVerifiable":
                mend = "put the key that it is known to have into known_hosts, see `man ssh-keyscan`"
            raise UserError(
                f"the DVC remote {name!r} does not let this machine in ({said[:200]}); {mend}"
            ) from None


def cache_folder(root: Path) -> Path:
    """Return the folder in which DVC keeps the content of what the repository in `root` has made."""
    with _opened(root) as repo:
        return Path(repo.cache.local_cache_dir)


@contextmanager
def _opened(root: Path) -> Iterator[Repo]:
    """Open `root` as a DVC repository.

    Raises UserError if `root` is no DVC repository, or DVC cannot read what lies there.
    """
    check_host_keys()
    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo(str(root)) as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"DVC cannot read {root}: {' '.join(str(error).split())}") from None


def _needed(graph: "networkx.DiGraph[Stage]", targets: Sequence[str]) -> Iterator[PipelineStage]:
    """Yield the stages that `targets` (none: all) need, every one behind those it reads from.

    Raises UserError if a target is no stage.
    """
    stages = {stage.name: stage for stage in graph if isinstance(stage, PipelineStage)}
    unknown = [name for name in targets if name not in stages]
    if unknown:
        raise UserError(f"dvc.yaml has no stage {unknown[0]!r}; it has {', '.join(sorted(stages))}")
    seen: set[str] = set()
    for source in [stages[name] for name in targets] or stages.values():
        for stage in networkx.dfs_postorder_nodes(graph, source):
            if isinstance(stage, PipelineStage) and stage.name not in seen:
                seen.add(stage.name)
                yield stage


def _before(graph: "networkx.DiGraph[Stage]", stage: PipelineStage) -> list[PipelineStage]:
    return [other for other in graph.successors(stage) if isinstance(other, PipelineStage)]


class _ExternalInputs:
    """Inputs of stages that no stage makes; each is looked at once, however many stages read it."""

    def __init__(self, repo: Repo) -> None:
        self._added = [out for out in repo.index.outs if out.stage.is_data_source]
        self._digests: dict[str, str] = {}

    def digest(self, stage: PipelineStage, dep: Output) -> str:
        """Return the digest of an input: for data in DVC the one that `dvc add` recorded, for source that of the file.

        The data need not be checked out. Raises UserError if the input is neither in git nor in DVC.
        """
        if dep.fs_path not in self._digests:
            self._digests[dep.fs_path] = self._digest(stage, dep)
        return self._digests[dep.fs_path]

    def files(self, stage: PipelineStage) -> tuple[str, ...]:
        """Return the sorted `.dvc` files of the data that the stage reads."""
        files = {out.stage.path_in_repo for dep in stage.deps for out in _overlapping(dep, self._added)}
        return tuple(sorted(files))

    def _digest(self, stage: PipelineStage, dep: Output) -> str:
        added = _overlapping(dep, self._added)
        digest = _recorded(dep, added) if added else None
        if digest is not None:
            return digest
        if dep.exists:
            return str(dep.get_hash().value)
        raise UserError(
            f"{stage.name} reads {dep.def_path}, which is neither in git nor in DVC at this revision; "
            f"`dvc add {dep.def_path}`, commit and `dvc push`"
        )


def _is_params(dep: Output) -> bool:
    return hasattr(dep, "read_params")


def _is_source(dep: Output, made: list[Output]) -> bool:
    return not _is_params(dep) and not _overlapping(dep, made)


def _own(stage: PipelineStage, made: list[Output], external: _ExternalInputs) -> dict[str, Any]:
    return {
        "cmd": stage.cmd,
        "params": {dep.def_path: dep.read_params() for dep in stage.deps if _is_params(dep)},
        "reads": {dep.def_path: external.digest(stage, dep) for dep in stage.deps if _is_source(dep, made)},
        "outs": sorted(out.def_path for out in stage.outs),
    }


def _holds(stage: PipelineStage, made: list[Output], own: dict[str, Any]) -> bool:
    """Return whether the stage's entry in dvc.lock agrees with its definition, its source, and the entries before it.

    Without a remote, the results must be in the cache as well.
    """
    if stage.cmd_changed or not all(out.hash_info for out in stage.outs):
        return False
    now = own["params"] | own["reads"]
    for dep in stage.deps:
        known = now[dep.def_path] if dep.def_path in now else _recorded(dep, _overlapping(dep, made))
        if not dep.hash_info or dep.hash_info.value != known:
            return False
    return bool(stage.repo.config["core"].get("remote")) or not any(out.changed_cache() for out in stage.outs)


def _recorded(dep: Output, made: list[Output]) -> str | None:
    """Return the digest of `dep` by the lock entries of the outs in `made`; None if the entries do not tell.

    `dep` is one of these outs, lies in one, or is put together from several.
    """
    if made[0].fs_path == dep.fs_path:
        return str(made[0].hash_info.value) if made[0].hash_info else None
    files: dict[str, str] = {}
    for out in made:
        if not out.hash_info:
            return None
        if not out.is_dir_checksum:
            files[out.fs_path] = out.hash_info.value
            continue
        tree = out.get_dir_cache()  # a list of names and digests, fetched where it is not at hand
        if tree is None:
            return None
        files |= {str(Path(out.fs_path, *parts)): found.value for parts, _, found in tree}
    if dep.fs_path in files:
        return files[dep.fs_path]
    place = Path(dep.fs_path)
    inside = [
        {"relpath": Path(path).relative_to(place).as_posix(), "md5": md5}
        for path, md5 in files.items()
        if Path(path).is_relative_to(place)
    ]
    tree = Tree.from_list(inside, hash_name="md5")
    tree.digest()
    return str(tree.hash_info.value)


def _overlapping(dep: Output, outs: Sequence[Output]) -> list[Output]:
    place = Path(dep.fs_path)
    return [
        out for out in outs if place.is_relative_to(out.fs_path) or Path(out.fs_path).is_relative_to(place)
    ]

"""The flows that people start: a lottery over the whole graph, and a promotion."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from pydantic import BaseModel, ConfigDict, Field

from flows import tracking
from flows.graph import Node, read_graph
from flows.locks import Lock
from flows.orchestration import runner
from flows.orchestration.checkout import CloneFolder, Revision, resolve
from flows.orchestration.dispatch import INTERRUPTED, LocalRunner, PoolRunner, StageRunner
from flows.orchestration.heartbeat import Heartbeat
from flows.orchestration.lock_store import LockArtifact, LockStore, reconcile
from flows.orchestration.lockfile import LockFile
from flows.orchestration.parameters import resolve_params
from flows.orchestration.runner import Dvc, StageJob, StageResult
from flows.orchestration.stage import need_server
from flows.orchestration.stage_scheduler import LotteryResult, Outcome, make_all
from flows.orchestration.status_table import StatusTable, show_decision
from mirl.config import Stopped, UserError
from mirl.files import read_text

AT_ONCE = 64
"""Stages that may be under way at the same time; pools and `jobs` set the real limit."""


class Source(BaseModel):
    """Repository, revision and parameters that a flow runs with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    """Address that `git clone` takes; every worker must reach it."""
    revision: str = "HEAD"
    """Branch, tag or commit of the repository."""
    params: str = ""
    """Text of a params.yaml to use instead of the one at that revision."""


class Placement(BaseModel):
    """Pools or process that do the work, and the places where results are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: str = ""
    """Pool for the stages that want a GPU; empty: this process does everything."""
    cpu: str = ""
    """Pool for the other stages."""
    jobs: int = Field(default=1, gt=0)
    """Number of stages at once, if this process does the work."""
    home: str = ""
    """Folder for private clones; empty: MIRL_HOME, else ~/.cache/mirl."""
    cache: str = ""
    """DVC's cache; empty: in `home`."""
    lock: str = ""
    """File that keeps the merged dvc.lock; empty: an artifact of Prefect, one for each study."""


@flow(name="lottery", task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE))  # type: ignore[arg-type]
def lottery(
    source: Source,
    where: Placement,
    study: str = "",
    overrides: dict[str, Any] | None = None,
    targets: list[str] | None = None,
    promote: bool = False,
) -> State[Any]:
    """Make every stage of a study that is out of date, then show the decision.

    Args:
        source: the repository and revision.
        where: the pools that do the work.
        study: name of a file in studies/; empty: params.yaml as it is at that revision.
        overrides: values to change, by their dotted names, such as {"arms.global.fraction": 0.2}.
        targets: stages to make, with what they need, such as ["evaluate@global-r1"]; none: all.
        promote: whether to promote the report's ticket at the end.
    """
    clones, log, ending = CloneFolder.of(where.home, where.cache), get_run_logger(), threading.Event()
    heartbeat = Heartbeat(ending.set, others=bool(where.gpu))
    try:
        asked = _revision(source)
        with heartbeat, clones.clone(asked) as clone:
            name = resolve_params(clone, source.params, study, overrides or {})
            asked = replace(asked, params=read_text(clone / "params.yaml"))
            locks: LockStore = LockFile(Path(where.lock)) if where.lock else LockArtifact(name)
            known = [locks.load(), LockFile(clone / "dvc.lock").load()]
            lock, nodes = reconcile(clone, targets or [], known)
            stage_runner = _stage_runner(where, clones)
            shown = StatusTable(name, clone, sum(not n.current for n in nodes.values()))

            def landed(node: Node, done: StageResult) -> None:
                try:
                    locks.add({node.name: done.entry})  # all of them again at the end
                    shown.add(node, done)
                except Exception as error:  # what is shown is not worth a training
                    log.warning("%s is made, but cannot be shown yet: %s", node.title, error)

            try:
                result = make_all(
                    nodes, lock, _StageTasks(asked, stage_runner).begin, landed, lambda: _may_go_on(ending)
                )
            except BaseException:  # cancelled, or interrupted
                stage_runner.stop()
                raise
            LockFile(clone / "dvc.lock").write(result.lock)
            good = [node.name for node in nodes.values() if node.current or node.name in result.made]
            locks.add({name: result.lock[name] for name in good})  # all: `promote` needs them
            is_whole = not targets and len(good) == len(nodes)
            said = _show(clone, name, None if is_whole else good, promote and not result.failed)
    except UserError as error:
        return Failed(message=str(error))
    except Stopped as stopped:
        return heartbeat.stopped(str(stopped))
    return _end(result, len(nodes), said)


@flow(name="promote")
def promote(source: Source, study: str = "", rollback: bool = False, force: bool = False) -> State[Any]:
    """Promote the ticket that a study's last lottery decided on, or go back to the champion before.

    Args:
        source: the repository and revision.
        study: name of a file in studies/; empty: params.yaml as it is at that revision.
        rollback: whether to go back instead.
        force: whether a champion that is no worse, or was measured on other data, is replaced all the same.
    """
    from flows import registry  # torch and MLflow's models: seconds that a lottery does not need to begin

    try:
        need_server()
        with (
            Heartbeat(lambda: None),
            CloneFolder.of().clone(_revision(source)) as clone,
        ):  # it takes minutes at most
            name = resolve_params(clone, source.params, study, {})
            if rollback:
                return Completed(message=registry.rollback(clone))
            lock = LockArtifact(name).load()
            if not lock:
                raise UserError(f"no lottery of {name!r} has ended yet; run one first")
            LockFile(clone / "dvc.lock").write(lock)
            Dvc(clone, get_run_logger().info).fetch([name for name in read_graph(clone) if name in lock])
            tracking.sync(clone)
            return Completed(message=registry.promote(clone, force=force).said)
    except UserError as error:
        return Failed(message=str(error))


def _may_go_on(ending: threading.Event) -> bool:
    return not (INTERRUPTED.is_set() or ending.is_set())


def _end(result: LotteryResult, stages: int, said: str) -> State[Any]:
    if result.failed:
        left = f"{len(result.left)} stages were not begun" if result.left else ""
        return Failed(message="; ".join(filter(None, [*result.failed.values(), left, said])))
    made = f"{len(result.made)} stages were made, {stages - len(result.made)} were up to date."
    return Completed(message=f"{made} {said}".strip())


def _stage_runner(where: Placement, clones: CloneFolder) -> StageRunner:
    if not where.gpu:
        return LocalRunner(clones, where.jobs)

    def is_there(work: StageJob, done: StageResult) -> bool:
        with clones.clone(work.revision) as clone:
            return runner.is_there(clone, work, done, get_run_logger().info)

    return PoolRunner(where.gpu, where.cpu or where.gpu, is_there)


def _revision(source: Source) -> Revision:
    return Revision(repository=source.repository, commit=resolve(source.repository, source.revision))


class _StageTasks:
    """Starter of stages as Prefect tasks."""

    def __init__(self, revision: Revision, stage_runner: StageRunner) -> None:
        self._revision, self._stage_runner = revision, stage_runner

    def begin(self, node: Node, lock: Lock, tell: Callable[[Outcome], None]) -> None:
        work = StageJob(key=node.key(lock), node=node, revision=self._revision, lock=lock)
        future = make.submit(node.title, quote(work), quote(self._stage_runner))  # type: ignore[call-overload]
        future.add_done_callback(lambda done: tell(_outcome(done, node)))


@task(name="stage", task_run_name="{title}", cache_policy=NO_CACHE, persist_result=False)
def make(title: str, work: StageJob, stage_runner: StageRunner) -> StageResult | State[Any]:
    """Do one piece of work with `stage_runner`; return its result, or a failed state with the reason."""
    try:
        return stage_runner(work, get_run_logger().info)
    except (UserError, Stopped) as error:
        return Failed(message=str(error))


def _outcome(future: PrefectFuture[Any], node: Node) -> Outcome:
    try:
        result = future.result(raise_on_failure=False)
        if isinstance(result, StageResult):
            return result
        return future.state.message or f"{node.title} failed"
    except Exception as error:  # Prefect's own; the scheduler waits for an answer, whatever it is
        return f"{node.title}: {error}"


def _show(clone: Path, study: str, stages: list[str] | None, promote: bool) -> str:
    """Bring the tickets into MLflow, show the decision and promote; return a message about it for people."""
    log = get_run_logger()
    try:
        Dvc(clone, log.info).fetch(stages)
        tracking.sync(clone, flow_run=str(flow_run.id))
        show_decision(study, clone)
    except UserError as error:  # a study that took days does not fail because its numbers cannot be shown
        return f"It could not all be shown: {error}; `python -m flows.tracking sync` or the next lottery does"
    if not promote:
        return ""
    from flows import registry

    return registry.promote(clone).said

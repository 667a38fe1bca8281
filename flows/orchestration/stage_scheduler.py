"""Scheduling of stages by the order of the graph and nothing else; it does not use Prefect."""

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flows.graph import Node
from flows.locks import Lock
from flows.orchestration.runner import StageResult
from mirl.config import Stopped

POLL_SECONDS = 0.2

Outcome = StageResult | str
"""Result of a stage, or the reason in a sentence why there is none."""
Begin = Callable[[Node, Lock, Callable[[Outcome], None]], None]
"""Function that begins a stage, with the lock entries it needs, and returns; the outcome comes later, from any thread."""


@dataclass(frozen=True, kw_only=True)
class LotteryResult:
    """Result of a lottery: its lock, and the stages that were made, that failed, and that were not begun."""

    lock: Lock
    """Entries with which the lottery began, and the entry of every stage that was made."""
    made: tuple[str, ...]
    failed: Mapping[str, str]
    """Stages without a result -> the reason, in a sentence."""
    left: tuple[str, ...]
    """Stages that were not begun, because one that they come after failed."""


def make_all(
    nodes: Mapping[str, Node],
    lock: Lock,
    begin: Begin,
    landed: Callable[[Node, StageResult], None],
    may_go_on: Callable[[], bool] = lambda: True,
) -> LotteryResult:
    """Begin each stage that is out of date as soon as all stages before it are made; go on past failures.

    `landed` is called in this thread, once for each stage that was made. Raises Stopped if `may_go_on` returns False.
    """
    lock, waiting = dict(lock), {name: node for name, node in nodes.items() if not node.current}
    came: queue.SimpleQueue[tuple[Node, Outcome]] = queue.SimpleQueue()
    under_way: set[str] = set()
    made: list[str] = []
    failed: dict[str, str] = {}
    while True:
        open_ = waiting.keys() | under_way | failed.keys()
        for node in [node for node in waiting.values() if not open_ & set(node.after)]:
            del waiting[node.name]
            under_way.add(node.name)
            known = {name: lock[name] for name in (*node.after, node.name) if name in lock}
            begin(node, known, lambda outcome, node=node: came.put((node, outcome)))  # type: ignore[misc]
        if not under_way:
            return LotteryResult(lock=lock, made=tuple(made), failed=failed, left=tuple(waiting))
        node, outcome = _next(came, may_go_on)
        under_way.remove(node.name)
        if isinstance(outcome, StageResult):
            lock[node.name] = outcome.entry
            made.append(node.name)
            landed(node, outcome)
        else:
            failed[node.name] = outcome


def _next(
    came: "queue.SimpleQueue[tuple[Node, Outcome]]", may_go_on: Callable[[], bool]
) -> tuple[Node, Outcome]:
    while may_go_on():
        try:
            return came.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
    raise Stopped("the lottery was interrupted; run it again to go on")

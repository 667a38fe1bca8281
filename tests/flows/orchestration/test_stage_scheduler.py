"""Which stage begins when, with stages that do nothing."""

from collections.abc import Callable

from flows.graph import Node
from flows.locks import Lock
from flows.orchestration.runner import StageResult
from flows.orchestration.stage_scheduler import Outcome, make_all


def node(name: str, *after: str, current: bool = False) -> Node:
    return Node(name=name, after=after, gpu=False, own={"outs": []}, sources=(), metrics=(), current=current)


def nodes(*given: Node) -> dict[str, Node]:
    return {one.name: one for one in given}


def done(name: str) -> StageResult:
    return StageResult(entry={"outs": [{"path": name, "md5": name}]}, metrics={}, seconds=1.0, host="here")


class Hands:
    """Begins a stage by noting it; each ends when the test says so."""

    def __init__(self, at_once: bool = False) -> None:
        self.begun: list[str] = []
        self.locks: dict[str, Lock] = {}
        self.tell: dict[str, Callable[[Outcome], None]] = {}
        self._at_once = at_once

    def begin(self, node: Node, lock: Lock, tell: Callable[[Outcome], None]) -> None:
        self.begun.append(node.name)
        self.locks[node.name] = lock
        self.tell[node.name] = tell
        if self._at_once:
            tell(done(node.name))


def test_what_is_up_to_date_is_not_begun_and_the_rest_in_order() -> None:
    hands = Hands(at_once=True)
    graph = nodes(node("a", current=True), node("b", "a"), node("c", "b"), node("d", "a", "c"))
    landed: list[str] = []
    result = make_all(graph, {"a": {"outs": []}}, hands.begin, lambda node, _: landed.append(node.name))
    assert hands.begun == ["b", "c", "d"] == landed == list(result.made)
    assert hands.locks["d"].keys() == {"a", "c"}
    assert result.lock.keys() == {"a", "b", "c", "d"} and not result.failed and not result.left


def test_everything_begins_as_soon_as_it_can() -> None:
    hands = Hands()
    graph = nodes(
        node("round@dense"), node("round@r1", "round@dense"), node("evaluate@dense", "round@dense"),
        node("evaluate@r1", "round@r1"), node("compare", "evaluate@dense", "evaluate@r1"),
    )  # fmt: skip
    steps: list[str] = []

    def landed(node: Node, _: StageResult) -> None:
        steps.append(node.name)

    real = hands.begin

    def begin(node: Node, lock: Lock, tell: Callable[[Outcome], None]) -> None:
        real(node, lock, tell)
        waiting = set(hands.begun) - set(steps)
        if node.name == "round@dense":
            tell(done("round@dense"))
        elif {"round@r1", "evaluate@dense"} <= waiting:  # both were begun, before either ended
            hands.tell["round@r1"](done("round@r1"))
        elif node.name == "evaluate@r1":  # begun while the evaluation of the dense ticket goes on
            tell(done("evaluate@r1"))
            hands.tell["evaluate@dense"](done("evaluate@dense"))
        elif node.name == "compare":
            tell(done("compare"))

    result = make_all(graph, {}, begin, landed)
    assert steps == [
        "round@dense", "round@r1", "evaluate@r1", "evaluate@dense", "compare"
    ]  # fmt: skip
    assert result.lock.keys() == graph.keys()


def test_a_failure_stops_what_needs_it_and_nothing_else() -> None:
    class Failing(Hands):
        def begin(self, node: Node, lock: Lock, tell: Callable[[Outcome], None]) -> None:
            super().begin(node, lock, tell)
            tell("it broke" if node.name == "b" else done(node.name))

    hands = Failing()
    graph = nodes(node("a"), node("b", "a"), node("c", "b"), node("d", "c"), node("e", "a"))
    result = make_all(graph, {}, hands.begin, lambda *_: None)
    assert hands.begun == ["a", "b", "e"]
    assert result.failed == {"b": "it broke"} and result.left == ("c", "d") and result.made == ("a", "e")

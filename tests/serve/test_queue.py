"""The line before the restoring process, with a process that answers when it is told to."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from mirl.serve.limits import Limits
from mirl.serve.messages import Restored, RestoreRequest
from mirl.serve.metrics import Metrics
from mirl.serve.queue import Queue
from mirl.serve.refusal import Refusal
from mirl.serve.worker import Worker

TICKET = {"name": "tiny", "sha256": "0" * 64}
RESTORED = Restored(data=b"", media_type="", pixels=1, seconds=1)


class Process:
    """Stands for a worker: remembers what it is told to give up."""

    ready, abandoned = True, False

    def abandon(self, abandoned: bool = True) -> None:
        self.abandoned = abandoned

    def restore(self, wanted: RestoreRequest, seconds: float) -> Restored:
        raise AssertionError("the test answers")


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0)


@pytest.mark.parametrize("answered", [True, False])
def test_only_the_picture_of_who_has_gone_is_given_up(
    answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[asyncio.Future[Restored]] = []

    async def begin(work: Any, *given: Any) -> Restored:
        begun.append(asyncio.get_running_loop().create_future())
        return await begun[-1]

    async def scene() -> bool:
        process = Process()
        queue = Queue(cast(Worker, process), Limits(), Metrics(TICKET))
        running = asyncio.create_task(queue.run())
        first, second = (asyncio.create_task(queue.restored(RestoreRequest(data=b""))) for _ in range(2))
        await until(lambda: len(begun) == 1)
        if answered:  # in the same turn of the loop in which its client goes
            begun[0].set_result(RESTORED)
        first.cancel()
        await until(lambda: len(begun) == 2 if answered else process.abandoned)
        for _ in range(10):  # whatever was still to be called
            await asyncio.sleep(0)
        for task in (running, second):
            task.cancel()
        return process.abandoned

    monkeypatch.setattr(asyncio, "to_thread", begin)
    assert asyncio.run(scene()) is not answered


@pytest.mark.parametrize(("ready", "outcome"), [(True, "late"), (False, "unready")])
def test_who_waited_for_a_process_that_is_begun_is_told_so(ready: bool, outcome: str) -> None:
    async def scene() -> str:
        process = Process()
        process.ready = ready
        queue = Queue(cast(Worker, process), Limits(seconds=0.01), Metrics(TICKET))
        with pytest.raises(Refusal) as refused:
            await queue.restored(RestoreRequest(data=b""))
        return refused.value.outcome

    assert asyncio.run(scene()) == outcome

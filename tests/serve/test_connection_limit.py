"""Which connection gives way."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from mirl.serve.connection_limit import ConnectionLimit


class _Transport(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


@dataclass(eq=False)
class _OpenConnection:
    has_slot: bool = False
    transport: asyncio.Transport = field(default_factory=_Transport)

    @property
    def cut(self) -> bool:
        return cast("_Transport", self.transport).aborted


def test_who_was_silent_for_the_longest_gives_way_and_no_picture_does() -> None:
    limit, connections = (
        ConnectionLimit(3),
        [_OpenConnection(has_slot=number == 0) for number in range(6)],
    )
    for connection in connections[:3]:
        limit.add(connection)
    limit.touch(connections[1])
    limit.add(connections[3])
    assert [connection.cut for connection in connections[:4]] == [False, False, True, False]
    limit.remove(connections[1])
    limit.add(connections[4])
    assert sum(connection.cut for connection in connections) == 1
    limit.add(connections[5])
    assert [connection.cut for connection in connections] == [False, False, True, True, False, False]


def test_where_all_have_slots_who_comes_is_cut() -> None:
    limit, first, second = ConnectionLimit(1), _OpenConnection(has_slot=True), _OpenConnection()
    limit.add(first)
    limit.add(second)
    assert (first.cut, second.cut) == (False, True)


def test_nobody_comes_in_once_it_is_closed() -> None:
    limit, first, second = ConnectionLimit(9), _OpenConnection(), _OpenConnection()
    limit.add(first)
    limit.close()
    limit.add(second)
    assert (first.cut, second.cut) == (False, True)

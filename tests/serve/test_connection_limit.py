"""Which connection gives way."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from mirl.serve.crowd import Crowd


class _Transport(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


@dataclass(eq=False)
class _Member:
    has_place: bool = False
    transport: asyncio.Transport = field(default_factory=_Transport)

    @property
    def cut(self) -> bool:
        return cast("_Transport", self.transport).aborted


def test_who_was_silent_for_the_longest_gives_way_and_no_picture_does() -> None:
    crowd, members = Crowd(3), [_Member(has_place=number == 0) for number in range(6)]
    for member in members[:3]:
        crowd.come(member)
    crowd.heard_from(members[1])
    crowd.come(members[3])
    assert [member.cut for member in members[:4]] == [False, False, True, False]
    crowd.gone(members[1])
    crowd.come(members[4])
    assert sum(member.cut for member in members) == 1
    crowd.come(members[5])
    assert [member.cut for member in members] == [False, False, True, True, False, False]


def test_where_all_have_places_who_comes_is_cut() -> None:
    crowd, first, second = Crowd(1), _Member(has_place=True), _Member()
    crowd.come(first)
    crowd.come(second)
    assert (first.cut, second.cut) == (False, True)


def test_nobody_comes_in_once_it_is_closed() -> None:
    crowd, first, second = Crowd(9), _Member(), _Member()
    crowd.come(first)
    crowd.close()
    crowd.come(second)
    assert (first.cut, second.cut) == (False, True)

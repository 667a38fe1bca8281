"""A user's own task, which is known only by pairs of degraded and clean pictures."""

from typing import Literal

from mirl.data.tasks.task import KindSection, Task


class OwnPairsSection(KindSection):
    """Options of a user's own task: `{kind: pairs}`."""

    kind: Literal["pairs"]
    turn: bool = True
    """True if training patches may be turned by 90 degrees; False if the degradation has a direction, as rain has."""

    def task(self, name: str) -> Task:
        """Return the task, whose pictures cannot be made: training and test pairs come from sources of `data`."""
        return Task(name=name, turned=self.turn)

"""A user's own task: all that is known of it are pairs of degraded and clean pictures."""

from typing import Literal

from mirl.data.tasks.task import KindSection, Task


class OwnPairsSection(KindSection):
    """`{kind: pairs}`."""

    kind: Literal["pairs"]
    turn: bool = True
    """Whether training patches may be turned by 90 degrees; false if the degradation has a direction, as rain has."""

    def task(self, name: str) -> Task:
        """Nothing can be made: training and test pairs come from sources of `data`."""
        return Task(name=name, turned=self.turn)

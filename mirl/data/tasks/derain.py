"""Deraining: removal of rain streaks, from pairs or from rain made on clean photographs."""

from dataclasses import replace
from functools import partial
from typing import Literal

from mirl.data.rain import Rain
from mirl.data.tasks.task import KindSection, Severity, Task

TEST_RAIN = Rain(kinds=("light", "threads"))
"""Rain as strong as in published test sets."""


class DerainSection(KindSection):
    """Options of deraining: `{kind: derain}`."""

    kind: Literal["derain"]

    def task(self, name: str) -> Task:
        """Return the task; its pairs are not turned by 90 degrees, because rain falls (ours)."""
        amount = Severity(
            name="rain", unit="times the usual amount", low=0.25, high=4, at=partial(_at_amount, self, name),
            trained=(Rain().amount, Rain().amount),
        )  # fmt: skip
        return Task(name=name, training=Rain(), testing=TEST_RAIN, turned=False, severities=(amount,))


def _at_amount(section: DerainSection, name: str, amount: float) -> Task:
    return replace(section.task(name), testing=replace(TEST_RAIN, amount=amount))

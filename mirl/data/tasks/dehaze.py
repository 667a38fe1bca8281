"""Dehazing: removal of light scattered between scene and camera, from pairs or from haze made on clean photographs."""

from dataclasses import replace
from functools import partial
from typing import Literal

from mirl.data.degradations import Haze
from mirl.data.tasks.task import KindSection, Severity, Task

TEST_HAZE = Haze(airlight=(0.8, 1.0), optical_depth=(0.6, 1.6))
"""Haze as strong as in published test sets."""


class DehazeSection(KindSection):
    """Options of dehazing: `{kind: dehaze}`."""

    kind: Literal["dehaze"]

    def task(self, name: str) -> Task:
        """Return the task; several hazy pictures may share one clean partner, as in RESIDE."""
        haze = Haze()
        depth = Severity(
            name="optical_depth", unit="at the farthest point", low=0.2, high=3, at=partial(_at_depth, self, name),
            trained=haze.optical_depth,
        )  # fmt: skip
        light = Severity(
            name="airlight", unit="of full scale", low=0.5, high=1, at=partial(_at_light, self, name),
            trained=haze.airlight,
        )  # fmt: skip
        return Task(
            name=name, training=haze, testing=TEST_HAZE, partners=reside_names, severities=(depth, light)
        )


def reside_names(stem: str) -> tuple[str, ...]:
    """Return the stem of the clean partner: 0001 for RESIDE's 0001_0.8_0.2.jpg (number, airlight, beta)."""
    return (stem.split("_")[0],)


def _at_depth(section: DehazeSection, name: str, depth: float) -> Task:
    return replace(section.task(name), testing=replace(TEST_HAZE, optical_depth=(depth, depth)))


def _at_light(section: DehazeSection, name: str, light: float) -> Task:
    return replace(section.task(name), testing=replace(TEST_HAZE, airlight=(light, light)))

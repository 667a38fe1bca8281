"""Parameters of params.yaml: all sections together, each of which is defined beside the code that it configures."""

import difflib
import re
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from mirl.config import Section, UserError
from mirl.data.sections import DataSection
from mirl.evaluation.scoring import EvaluateSection
from mirl.methods import Arm, Method, planner, role_of
from mirl.methods.plan import requirement_name
from mirl.names import Name, named
from mirl.networks import NetworkSection, allow, is_known, is_own, outline
from mirl.promotion import PolicySection
from mirl.training.section import MachineSection, TrainSection
from mirl.yaml import read_yaml

ROOT_TICKET = "init"
"""Name of the untrained network, which the first round comes after."""


class RoundSection(Section):
    """Section of one round: train what the arm's method plans from the ticket named by `after`."""

    arm: str
    after: str
    task: str = ""
    """Requirement that the round is for, a task of the study; empty: none, or those of `tasks`."""
    tasks: list[str] = Field(default=[], max_length=16)
    """Tasks of one requirement that covers several of them."""

    @property
    def requirement(self) -> tuple[str, ...]:
        """Tasks that the round is for; empty if its arm is for all of the study."""
        return (self.task,) if self.task else tuple(self.tasks)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.task and self.tasks:
            raise ValueError("`task` names one task and `tasks` several, so give one of the two keys")
        if odd := [task for task in self.tasks if self.tasks.count(task) > 1]:
            raise ValueError(f"`tasks` names {odd[0]} twice; name it once")
        if self.requirement:
            named(requirement_name(self.requirement), "a requirement's name, that of its tasks together,")
        return self


class Params(Section):
    """Content of a whole params.yaml."""

    study: Name
    """Name of the study: an MLflow experiment gathers its tickets."""
    data: DataSection
    network: NetworkSection
    train: TrainSection
    arms: dict[str, Arm]
    rounds: dict[str, RoundSection]
    """Rounds in the order of the file: a round comes after one that is named before it."""
    evaluate: EvaluateSection
    promote: PolicySection
    machine: MachineSection = MachineSection()

    @model_validator(mode="after")
    def _rounds_hang_together(self) -> Self:
        for name in self.arms:
            if "." in named(name, "an arm's name"):
                raise ValueError(
                    f"the arm {name!r} has a dot in its name, which DVC takes for a key inside of another; call it "
                    f"{name.replace('.', '-')!r}"
                )
        known = [ROOT_TICKET]
        for name, item in self.rounds.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,99}", name):
                raise ValueError(
                    f"round name {name!r} must be a word of a-z, 0-9, - and _ (DVC drops others)"
                )
            if item.arm not in self.arms:
                raise ValueError(
                    f"`rounds.{name}.arm` is {item.arm!r}, which is no arm{_nearest(item.arm, self.arms)}"
                )
            if item.after not in known:
                raise ValueError(
                    f"`rounds.{name}.after` is {item.after!r}, which is no round before it{_nearest(item.after, known)}"
                )
            self._refuse_requirement(name, item)
            known.append(name)
        self._references_are_dense()
        self.train.batches.refuse_unknown(self.data.table)
        self.machine.refuse_uneven(self.train.batches.batch)
        self._data_fits_the_network()
        if self.promote.protocol != self.evaluate.protocols[0]:
            raise ValueError(
                f"promote.protocol is {self.promote.protocol!r}, but the first of evaluate.protocols, whose numbers "
                f"are shown everywhere, is {self.evaluate.protocols[0]!r}; the same must decide"
            )
        return self

    def _data_fits_the_network(self) -> None:
        if not is_known(self.network.name):
            return
        network, side = outline(self.network), self.train.batches.patch
        scales = self.network.scales or (network.scale,)
        unit = network.multiple
        if side % unit:
            raise ValueError(
                f"train.batches.patch is {side}, but {self.network.name} takes multiples of {unit}; "
                f"use {max(side // unit, 1) * unit} or {(side // unit + 1) * unit}"
            )
        parameters = [name for name, _ in network.named_parameters()]
        for beginning in self.train.rates:
            if not any(name.startswith(beginning) for name in parameters):
                raise ValueError(
                    f"`train.rates` has {beginning!r}, with which no parameter of {self.network.name} begins"
                    f"{_nearest(beginning, dict.fromkeys(name.partition('.')[0] + '.' for name in parameters))}"
                )
        for name, task in self.data.table.items():
            if task.scale not in scales and not self._can_add_head(task.scale):
                raise ValueError(
                    f"data.tasks.{name} enlarges by {task.scale}, but {self.network.name} by "
                    f"{', '.join(map(str, scales))}; a study has tasks of its network's scale only"
                )
        several = sorted({*scales, *(task.scale for task in self.data.table.values())})
        for name, item in self.rounds.items():
            if len(several) > 1 and not item.requirement:
                raise ValueError(
                    f"round {name} names no task, but the study enlarges by {', '.join(map(str, several))}; name its "
                    "`task`, or its `tasks`"
                )

    def _can_add_head(self, scale: int) -> bool:
        """Return whether a round may add a head for that scale to the network."""
        try:
            return bool(self.network.with_scale(scale))
        except UserError:
            return False

    def _refuse_requirement(self, name: str, item: RoundSection) -> None:
        for task in item.requirement:
            if task not in self.data.table:
                raise ValueError(
                    f"round {name} is for {task!r}, which is no task of the study{_nearest(task, self.data.table)}"
                )
        try:
            self._planner(item)
        except UserError as error:
            raise ValueError(f"round {name}: {error}") from None

    def _references_are_dense(self) -> None:
        dense = [n for n, r in self.rounds.items() if role_of(self.arms[r.arm].method) == "reference"]
        reference = self.promote.reference
        if isinstance(reference, dict):
            for task, name in reference.items():
                if task not in self.data.table:
                    raise ValueError(
                        f"`promote.reference` has {task!r}, which is no task of the study{_nearest(task, self.data.table)}"
                    )
                if name not in dense:
                    raise ValueError(
                        f"`promote.reference.{task}` is {name!r}, which is no round that has a dense arm"
                        f"{_nearest(name, dense)}"
                    )
        elif len(dense) != 1:
            raise ValueError(
                f"one round must have a dense arm, to prune and to compare with; got {dense or 'none'}"
            )
        elif dense[0] != reference:
            raise ValueError(
                f"promote.reference is {reference!r}, but the dense round is {dense[0]!r}; name that"
            )

    def planner(self, name: str) -> Method:
        """Return the method that plans the round of that name."""
        return self._planner(self.round(name))

    def _planner(self, item: RoundSection) -> Method:
        scales = tuple(self.data.table[task].scale for task in item.requirement)
        return planner(self.arms[item.arm]).serving(item.requirement, scales)

    def round(self, name: str) -> RoundSection:
        """Return the round of that name. Raises UserError, which lists the rounds, if there is no such round."""
        if name not in self.rounds:
            raise UserError(f"there is no round {name!r} in params.yaml; it has {', '.join(self.rounds)}")
        return self.rounds[name]


def read_params(path: Path, own: Path | None = Path()) -> Params:
    """Read and check a params.yaml. Raises UserError, one sentence, if it is wrong.

    If the file names the user's own network, that network is allowed from now on, and imported from below the folder
    `own`; if `own` is None, the network is not allowed, and only its name is known.
    """
    values = read_yaml(path)
    if own is not None and is_own(name := _network_name(values)):
        allow(name, own)
    return Params.read(values, path.name)


def _network_name(values: Any) -> str:
    """Return the name of the network in the values of a params.yaml; empty if there is none."""
    section = values.get("network") if isinstance(values, dict) else None
    name = section.get("name") if isinstance(section, dict) else None
    return name if isinstance(name, str) else ""


def _nearest(name: str, known: object) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)  # type: ignore[call-overload]
    return f"; did you mean {nearest[0]!r}?" if nearest else ""

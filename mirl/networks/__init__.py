"""The restoration networks, which of their tensors are prunable, and how one is built from its section."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch.nn.modules.module import register_module_parameter_registration_hook

from mirl.config import Section, UserError
from mirl.networks.nafnet import Nafnet
from mirl.networks.network import Network
from mirl.networks.promptir import PromptIR
from mirl.networks.prunable import prunable
from mirl.networks.restormer import Restormer

__all__ = ["NETWORKS", "Network", "NetworkSection", "build", "multiple", "outline", "prunable"]

NETWORKS: dict[str, type[Network]] = {
    "nafnet": Nafnet,
    "promptir": PromptIR,
    "restormer": Restormer,
}

DUMPED = ("name", "options", "seed", "prune_prompts")
"""Keys that every dump of a NetworkSection has, whatever their values."""
Option = int | float | bool | str | list[int]


class NetworkSection(Section):
    """Which network, how large, and the seed of its first weights; its dump is a ticket's network spec."""

    name: str
    """A key of NETWORKS."""
    options: dict[str, Option] = Field(default={})
    """What differs from the defaults of that network's `Options`."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    prune_prompts: bool = False
    """Whether the prompt tensors of a network that has them are prunable too."""

    def spec(self) -> dict[str, Any]:
        """Its dump as plain JSON data. Keys that came later are left out at their defaults: what was dumped before stays."""
        dump = self.model_dump(mode="json")
        fields = type(self).model_fields
        return {key: value for key, value in dump.items() if key in DUMPED or value != fields[key].default}

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        if name not in NETWORKS:
            raise ValueError(f"the known networks are {', '.join(NETWORKS)}")
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Option], info: ValidationInfo) -> dict[str, Option]:
        if "name" in info.data:
            _options(info.data["name"], options)
        return options


def multiple(section: NetworkSection) -> int:
    """What the height and width of its images must be multiples of, in pixels."""
    return outline(section).multiple


def outline(section: NetworkSection, most: int = 100_000) -> Network:
    """The network on torch's meta device: names and shapes, without memory; draws nothing.

    UserError once it has more than `most` parameters, and no more of it is made: a few bytes can ask for any number.
    """
    options = _options(section.name, section.options)
    with torch.device("meta"), _at_most(most, section.name):
        network = NETWORKS[section.name](options)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # as in `build`


def build(section: NetworkSection) -> Network:
    """The untrained network on the CPU, channels-last; its weights depend on `section` alone.

    Draws from no generator of the caller: the state of torch's global one is put back.
    """
    options = _options(section.name, section.options)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Layers initialise from the global CPU generator; seeding that one leaves those of GPUs be.
        torch.default_generator.manual_seed(section.seed)
        network = NETWORKS[section.name](options)
    # torch's type stubs do not know `memory_format` alone.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@contextmanager
def _at_most(most: int, name: str) -> Iterator[None]:
    """UserError as soon as this thread makes more than `most` parameters."""
    here, made = threading.get_ident(), 0

    def count(*_: object) -> None:
        nonlocal made
        made += threading.get_ident() == here
        if made > most:
            raise UserError(f"network `{name}` has more than {most} parameters; make it smaller")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _options(name: str, values: dict[str, Option]) -> Section:
    """The checked options of network `name`; UserError lists the valid ones."""
    model = NETWORKS[name].Options
    try:
        return model.read(values, f"network `{name}`")
    except UserError as error:
        raise UserError(f"{error} (its options: {', '.join(model.model_fields)})") from None

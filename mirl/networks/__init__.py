"""Restoration networks, their prunable tensors, and the building of a network from its section."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from mirl.config import Section, UserError
from mirl.names import DigestOrNone, Name
from mirl.networks.edsr import Edsr
from mirl.networks.fsrcnn import Fsrcnn
from mirl.networks.heads import ScalesNetwork, ScalesOptions, head_kept, scale_of, working
from mirl.networks.imported import allow, allowed, is_own, loaded
from mirl.networks.nafnet import Nafnet
from mirl.networks.network import Network
from mirl.networks.picks import Picks, PicksSection
from mirl.networks.promptir import PromptIR
from mirl.networks.prunable import prunable
from mirl.networks.restormer import Restormer
from mirl.networks.router import ROUTER, Router, RouterSection

__all__ = [
    "NETWORKS",
    "ROUTER",
    "Network",
    "NetworkSection",
    "allow",
    "build",
    "head_kept",
    "is_known",
    "is_own",
    "network_class",
    "outline",
    "prunable",
    "refuse_other_source",
    "router_with",
    "scale_of",
    "working",
]

NETWORKS: dict[str, type[Network]] = {
    "edsr": Edsr,
    "fsrcnn": Fsrcnn,
    "nafnet": Nafnet,
    "promptir": PromptIR,
    "restormer": Restormer,
}

DUMPED = ("name", "options", "seed", "prune_prompts")
"""Keys that every dump of a NetworkSection has, whatever their values."""
Option = int | float | bool | str | list[int]


class NetworkSection(Section):
    """Name, size and seed of the first weights of a network; the dump of this section is a ticket's network spec."""

    name: str
    """A key of NETWORKS, or `module:Class` of one's own."""
    options: dict[str, Option] = Field(default={})
    """Options that differ from the defaults of that network's `Options`."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    prune_prompts: bool = False
    """True if the prompt tensors of a network that has them are prunable too."""
    source: DigestOrNone = Field(default="", validate_default=True)
    """SHA-256 digest of the source of one's own network, filled in if it was allowed; empty for those of NETWORKS."""

    router: RouterSection | None = None
    """Classifier of patches that the network has beside it, as its submodule `router`; none by default."""
    picks: PicksSection | None = None
    """Scores of blocks that are learned beside the weights, as its submodule `picks`; none by default."""
    narrower: dict[Name, dict[str, Option]] = Field(default={}, max_length=64)
    """Name of a sub-network -> options of the narrower network that it is one of: its weights are a corner of this one's
    (`mirl.networks.widening`). The others are of this network; all by default."""

    @property
    def router_outputs(self) -> int:
        """Number of sub-networks that the router chooses among; 0 if there is no router."""
        return self.router.outputs if self.router else 0

    @property
    def scales(self) -> tuple[int, ...]:
        """Scales for each of which the network has a head; empty if it has one scale, or is not known here."""
        scales = self._heads
        return scales if len(scales) > 1 else ()

    @property
    def _heads(self) -> tuple[int, ...]:
        """Scales of all heads; empty if the network has none, or is not known here."""
        kind = network_class(self.name) if is_known(self.name) else Network
        if not issubclass(kind, ScalesNetwork):
            return ()
        options = _options(kind, self.name, self.options)
        assert isinstance(options, ScalesOptions)
        return tuple(options.scales)

    def has_head(self, scale: int) -> bool:
        """Return whether the network can enlarge by `scale` as far as its heads go: it has that one, or no heads."""
        return not self._heads or scale in self._heads

    def with_scale(self, scale: int) -> Self:
        """Return the network with one head more, for `scale`.

        Raises UserError if it has no heads, that one already, or can have none for that scale.
        """
        if not self._heads:
            raise UserError(f"{self.name} has one scale, and no heads for others")
        options: dict[str, Option] = {**self.options, "scales": [*self._heads, scale]}
        _options(network_class(self.name), self.name, options)
        return self.model_copy(update={"options": options})

    def with_heads(self, scales: Collection[int]) -> Self:
        """Return the same network with the heads of these of its `scales` alone, in its own order."""
        kept = [scale for scale in self.scales if scale in scales]
        if not kept:
            return self
        narrower = {name: {**options, "scales": kept} for name, options in self.narrower.items()}
        return self.model_copy(update={"options": {**self.options, "scales": kept}, "narrower": narrower})

    def spec(self) -> dict[str, Any]:
        """Dump the section as plain JSON data.

        Keys that were added later are left out at their defaults, so that earlier dumps stay the same.
        """
        dump = self.model_dump(mode="json")
        fields = type(self).model_fields
        return {key: value for key, value in dump.items() if key in DUMPED or value != fields[key].default}

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        if name not in NETWORKS and not is_own(name):
            raise ValueError(f"the known networks are {', '.join(NETWORKS)}, and your own as `module:Class`")
        if name in allowed():
            loaded(name)
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Option], info: ValidationInfo) -> dict[str, Option]:
        if is_known(info.data.get("name", "")):
            _options(network_class(info.data["name"]), info.data["name"], options)
        return options

    @field_validator("narrower")
    @classmethod
    def _known_narrower(
        cls, narrower: dict[str, dict[str, Option]], info: ValidationInfo
    ) -> dict[str, dict[str, Option]]:
        for options in narrower.values():
            cls._known_options(options, info)
        return narrower

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str, info: ValidationInfo) -> str:
        name = info.data.get("name", "")
        if name in NETWORKS and source:
            raise ValueError(f"{name} is one of mirl's networks, which have none; leave it out")
        return source or (loaded(name).source if name in allowed() else "")


def is_known(name: str) -> bool:
    """Return whether this process may build the network called `name`: one of NETWORKS, or one that was allowed."""
    return name in NETWORKS or name in allowed()


def network_class(name: str) -> type[Network]:
    """Return the class called `name`.

    Raises UserError if the name is not in NETWORKS, and was not allowed or cannot be loaded.
    """
    return NETWORKS[name] if name in NETWORKS else loaded(name).kind


def refuse_other_source(section: NetworkSection) -> None:
    """Raises UserError if the network's source here differs from that in `section`, or the network cannot be loaded."""
    if section.name in NETWORKS:
        return
    here = loaded(section.name)
    if section.source != here.source:
        raise UserError(
            f"the network {section.name} is meant with the source {section.source or '(none)'}, but "
            f"{', '.join(here.files)} here has {here.source}; put back what that was, or make everything anew with what is "
            "here: `dvc repro -f init`, then `dvc repro`"
        )


def outline(section: NetworkSection, most: int = 100_000) -> Network:
    """Return the network on torch's meta device: names and shapes, without memory; draws no random numbers.

    Raises UserError once the network has more than `most` parameters, and makes no more of it: a few bytes can ask for
    any number. Also raises UserError if its `multiple` or `scale` is not a positive number, or the network is not mirl's
    and was not allowed or has another source here.
    """
    kind, options = _wanted(section)
    with torch.device("meta"), _at_most(most, section.name):
        network = kind(options)
        _add_parts(network, section)
    for key, expected in (("multiple", "pixels"), ("scale", "times")):
        value = getattr(network, key, None)
        if type(value) is not int or value < 1:
            raise UserError(
                f"network `{section.name}` has {value!r} as its `{key}`, expected {expected}, 1 or more"
            )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # as in `build`


def build(section: NetworkSection) -> Network:
    """Build the untrained network on the CPU, channels-last; its weights depend on `section` alone.

    Draws from no generator of the caller: the state of torch's global one is put back. Raises UserError as `outline`
    does for a network that is not mirl's.
    """
    kind, options = _wanted(section)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Layers initialise from the global CPU generator; seeding that one leaves those of GPUs be.
        torch.default_generator.manual_seed(section.seed)
        network = kind(options)
        _add_parts(network, section)
    # torch's type stubs do not know `memory_format` alone.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def router_with(section: NetworkSection, state: Mapping[str, Tensor]) -> Router:
    """Return the router of a network on the CPU, with its weights in the state of the whole."""
    assert section.router, "the network has no router"
    with torch.device("meta"):
        router = Router(section.router)
    own = {name.removeprefix(ROUTER): tensor for name, tensor in state.items() if name.startswith(ROUTER)}
    router.load_state_dict(own, assign=True)
    return router.eval().requires_grad_(False)


def _add_parts(network: Network, section: NetworkSection) -> None:
    """Add what the section asks for beside the network, whose weights are the same without it."""
    if section.router:
        network.add_module("router", Router(section.router))
    if section.picks:
        network.add_module("picks", Picks(section.picks, prunable(network, section.prune_prompts)))


@contextmanager
def _at_most(most: int, name: str) -> Iterator[None]:
    """Raises UserError as soon as this thread makes more than `most` parameters."""
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


def _wanted(section: NetworkSection) -> tuple[type[Network], Section]:
    """Return the class of a network and its checked options."""
    refuse_other_source(section)
    kind = network_class(section.name)
    return kind, _options(kind, section.name, section.options)


def _options(kind: type[Network], name: str, values: dict[str, Option]) -> Section:
    """Return the checked options of network `name`. Raises UserError, which lists the valid ones."""
    model = kind.Options
    try:
        return model.read(values, f"network `{name}`")
    except UserError as error:
        raise UserError(f"{error} (its options: {', '.join(model.model_fields)})") from None

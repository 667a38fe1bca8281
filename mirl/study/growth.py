"""Growth of a ticket that came without its study: a study of one requirement, whose root is the ticket."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mirl import networks
from mirl.config import UserError
from mirl.data.packed import PackedImages
from mirl.methods import planner, role_of, with_role
from mirl.methods.plan import requirement_name
from mirl.networks import NetworkSection, network_class
from mirl.restore.restorer import Restorer
from mirl.study.forecast import refuse_impossible_after
from mirl.study.params import ROOT_TICKET, Params, RoundSection
from mirl.study.stages import prepare, train_planned
from mirl.study.study import Study
from mirl.study.ticket_folder import TicketFolder
from mirl.study.workspace import write_json
from mirl.tickets import writing
from mirl.tickets.model import SparseModel
from mirl.tickets.routing import ByTask
from mirl.tickets.ticket import Ticket
from mirl.yaml import read_yaml

GROW = "grow"
"""Name of the round that grows the requirement; those that prune it follow."""
USED = ("data", "network", "train", "arms", "machine")
"""Sections of a params.yaml that growing reads; those about a whole study are left aside."""
_REFERENCE = "reference"
PROBE_SIDE = 48
"""Height and width in pixels of the random image that is restored for each earlier task before and after."""


def refuse_unfit(ticket: Ticket, task: str) -> None:
    """Raise UserError if `ticket` cannot be grown by the requirement `task`, whatever the settings."""
    routing, name = ticket.routing, ticket.lineage.name
    if not isinstance(routing, ByTask):
        raise UserError(
            f"the ticket {name} is not told its task, its routing is {routing.words()}: what it has, every image uses, so "
            "nothing can be added beside it; expected a routing by task"
        )
    if ticket.values.relative:
        raise UserError(
            f"the ticket's values are {ticket.values.kind}, in units of the largest weight of a layer, which a new one may "
            f"become: packed again, the earlier tasks would change; grow the ticket {ticket.values.packed_from[:12]} that "
            "it was packed from"
        )
    if task in routing.tasks:
        raise UserError(
            f"the ticket {name} serves {task} already, by its sub-network {routing.tasks[task]}; its tasks are "
            f"{', '.join(sorted(routing.tasks))}, so name another"
        )
    if requirement_name((task,)) in ticket.masks:
        raise UserError(
            f"the ticket {name} has a sub-network that is called {task}, for {_served(routing, task)}; call the task "
            "otherwise in `data.tasks`"
        )


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What a ticket is grown by, and how, beside the params.yaml."""

    task: str
    """The requirement."""
    arm: str = ""
    """Arm of the params.yaml; empty: the only one that fits."""
    prunings: int = 1
    """Number of rounds that prune what has grown, at least 1."""


def read_growth_params(path: Path, ticket: Ticket, wanted: Growth) -> Params:
    """Return the parameters of a study that grows `ticket`, from a params.yaml.

    Read are the sections USED; the network may be left out, as the ticket names it. Raises UserError if a section is
    wrong, the network is another one, or the task or the arm is not there.
    """
    values = read_yaml(path)
    if isinstance(values, dict):
        values = _completed(values, ticket, wanted.task)
        _refuse_other_network(NetworkSection.read(values["network"], f"{path.name}: network"), ticket, path)
    params = Params.read(values, path.name)
    if wanted.task not in params.data.table:
        raise UserError(
            f"{wanted.task!r} is no task of {path.name}, whose tasks are {', '.join(params.data.table)}; name it under "
            "`data.tasks`"
        )
    arm, after, rounds = _arm(params, wanted, path), ROOT_TICKET, {}
    for name in (GROW, *(f"prune-{number}" for number in range(1, wanted.prunings + 1))):
        rounds[name] = RoundSection(arm=arm, after=after, task=wanted.task)
        after = name
    return params.model_copy(update={"rounds": rounds})


def plant(study: Study, file: Path) -> TicketFolder:
    """Make the root of the study, which is the ticket in `file`, and return it.

    The origin, the values from which free weights are grown, is not in a ticket: it is the untrained network, which its
    seed gives again. Raises UserError if a round cannot be planned, such as for want of capacity.
    """
    folder = study.files.ticket(ROOT_TICKET)
    with study.files.making(folder) as draft:
        shutil.copyfile(file, draft / "ticket.safetensors")
        origin = networks.build(study.params.network).state_dict()
        writing.write_state(origin, draft / "origin.safetensors", step=0)
        write_json(draft / "metrics.json", {})
    root = TicketFolder.read(folder)
    refuse_impossible_after(study.params, root.parent)
    return root


def prepare_data(study: Study) -> str:
    """Prepare the photographs of the study and return the digest of what is prepared."""
    prepare(study, "")
    return PackedImages(study.files.prepared).digest


def grow(study: Study, root: TicketFolder) -> Ticket:
    """Train the rounds and return the grown ticket, whose lineage says under `grown` what it was grown from.

    Raises UserError if an earlier task would be restored otherwise than by the ticket of `root`.
    """
    before, steps = root, 0
    for name in study.params.rounds:
        plan = study.params.planner(name).plan(before.parent, before.initialise)
        train_planned(study, name, plan, before)
        before = TicketFolder.read(study.files.ticket(name))
        steps += before.ticket.lineage.steps
    given, found = root.ticket, before.ticket
    refuse_changed(given, found)
    task = study.params.round(GROW).task
    origin = {"of": given.sha256, "name": given.lineage.name, "data": given.lineage.data}
    lineage = found.lineage.model_copy(
        update={
            "name": f"{given.lineage.name}-{task}"[:100],
            "parent": given.sha256,
            "steps": steps,
            "settings": found.lineage.settings | {"grown": origin},
        }
    )
    return replace(found, lineage=lineage, sha256="")


def refuse_changed(before: Ticket, after: Ticket) -> None:
    """Raise UserError if `after` restores a task of `before` to other bits than `before` does.

    If the network is the same, mask and values of the task's sub-network have to be the same bits, which proves it for
    every image. In any case a random image has to be restored to the same bits, by torch and by the kernels.
    """
    assert isinstance(before.routing, ByTask) and isinstance(after.routing, ByTask)
    for task, mask in before.routing.tasks.items():
        if after.routing.tasks.get(task) != mask or not _same(before.alone(mask), after.alone(mask)):
            raise UserError(
                f"{task} would be restored otherwise than by the ticket {before.lineage.name}, which must not be, so "
                "nothing is written; please report it with the params.yaml"
            )


def _same(one: SparseModel, other: SparseModel) -> bool:
    if one.network == other.network and _bits(one) != _bits(other):
        return False
    image_HWC = np.random.default_rng(0).integers(0, 256, (PROBE_SIDE, PROBE_SIDE, 3), dtype=np.uint8)
    for skip_zeros in (False, True):
        before_HWC, after_HWC = (Restorer(model, skip_zeros=skip_zeros)(image_HWC) for model in (one, other))
        if not np.array_equal(before_HWC, after_HWC):
            return False
    return True


def _bits(model: SparseModel) -> dict[str, tuple[bytes, bytes]]:
    """Return mask and value of each parameter or buffer of a sub-network as bytes."""
    keep = {name: kept.numpy().tobytes() for name, kept in model.mask.items()}
    return {
        name: (keep.get(name, b""), tensor.contiguous().numpy().tobytes())
        for name, tensor in model.state.items()
    }


def _completed(values: dict[str, Any], ticket: Ticket, task: str) -> dict[str, Any]:
    """Return the values of the params.yaml of a study: the sections USED, the ticket's network, and a reference.

    Unknown sections stay, to be refused. Growing compares nothing, but a study has a round to compare with.
    """
    aside = Params.model_fields.keys() - set(USED)
    read = {key: value for key, value in values.items() if key not in aside}
    arms = values.get("arms")
    serving = (
        {"task": task} if ticket.network.scales else {}
    )  # with several heads every round says which it trains
    return {
        "network": ticket.network.spec(),
        **read,
        "study": "growth",
        "arms": {**arms, _REFERENCE: {"method": with_role("reference")[0]}}
        if isinstance(arms, dict)
        else arms,
        "rounds": {_REFERENCE: {"arm": _REFERENCE, "after": ROOT_TICKET, **serving}},
        "evaluate": {},
        "promote": {"reference": _REFERENCE},
    }


def _refuse_other_network(given: NetworkSection, ticket: Ticket, path: Path) -> None:
    known = given.name == ticket.network.name
    wanted, held = (_in_full(each) if known else {"name": each.name} for each in (given, ticket.network))
    for key in sorted(wanted.keys() | held.keys()):
        if wanted.get(key) != held.get(key):
            raise UserError(
                f"{path.name}: the network's {key} is {wanted.get(key)}, but the ticket {ticket.lineage.name} has "
                f"{held.get(key)}; leave out the section `network`, as the ticket names its own"
            )


def _in_full(section: NetworkSection) -> dict[str, Any]:
    """Return what a network is made of, its options with those at their defaults."""
    options = network_class(section.name).Options.read(section.options, section.name).model_dump()
    return {**section.spec(), "options": "", **options}


def _arm(params: Params, wanted: Growth, path: Path) -> str:
    """Return the arm that is wanted, or if none is named the only one whose rounds take a requirement."""
    fit = [name for name in params.arms if name != _REFERENCE and _takes(params, name, wanted.task)]
    if wanted.arm in fit or (not wanted.arm and len(fit) == 1):
        return wanted.arm or fit[0]
    known = ", ".join(fit) or "none"
    if wanted.arm:
        raise UserError(
            f"{wanted.arm!r} is no arm of {path.name} that grows a requirement; those are {known}"
        )
    mending = "name it with --arm" if fit else "add one under `arms`, such as `png: {method: png}`"
    raise UserError(
        f"{path.name} has {len(fit)} arms that grow a requirement ({known}), expected one; {mending}"
    )


def _takes(params: Params, arm: str, task: str) -> bool:
    section = params.arms[arm]
    if role_of(section.method) != "candidate":
        return False
    try:
        planner(section).serving((task,))
    except UserError:
        return False
    return True


def _served(routing: ByTask, mask: str) -> str:
    return ", ".join(task for task, name in routing.tasks.items() if name == mask)

"""Cost of the training of one ticket."""

from mirl.methods.plan import Plan
from mirl.sparsity.accounting import macs, training_flops
from mirl.study.params import Params
from mirl.tickets.ticket import Ticket
from mirl.training.device import device_of
from mirl.training.energy import counter, name_of
from mirl.training.loop import Trained
from mirl.training.section import MachineSection


def spent(trained: Trained, ticket: Ticket, plan: Plan, params: Params) -> dict[str, float]:
    """Compute the numbers on training cost for the ticket's metrics.json.

    `train_flops` counts the weights that the mask keeps, `train_flops_dense` all weights, for the same samples
    (`training_flops` says how). `train_joules` is missing if a machine could not measure it.
    """
    batches = params.train.batches
    samples = trained.steps * batches.batch
    each = []
    for mask, passes in plan.objective.passes(list(ticket.masks)).items():
        alone = ticket.alone(mask)
        work = macs(alone.outline(), alone.mask, batches.patch, batches.patch)
        each.append(training_flops(work, samples, passes))
    found = {
        "steps": trained.steps,
        "samples": samples,
        "train_flops": sum(flops.kept for flops in each),
        "train_flops_dense": sum(flops.dense for flops in each),
        "train_seconds": trained.train_seconds,
        "images_per_second": samples / max(trained.train_seconds, 1e-9),
    }
    return found | ({} if trained.train_joules is None else {"train_joules": trained.train_joules})


def trained_on(trained: Trained, machine: MachineSection) -> dict[str, str]:
    """Describe for the ticket's machine.json the device on which training ended, and the energy counter if known."""
    device = device_of(machine)
    found = counter(device) if trained.train_joules is not None else None
    return {"device": name_of(device, machine.threads)} | ({"energy": found[0]} if found else {})

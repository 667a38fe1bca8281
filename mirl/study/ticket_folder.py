"""Folder of a ticket: ticket.safetensors, origin.safetensors, metrics.json and, once trained, history.parquet."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mirl import networks
from mirl.methods.plan import Parent, Plan, copied
from mirl.records import CURVES, TERM
from mirl.sparsity.accounting import densities, macs
from mirl.sparsity.mask import State
from mirl.study.workspace import read_json, write_json
from mirl.tickets import reading, writing
from mirl.tickets.container import sha256_of
from mirl.tickets.ticket import Ticket

MACS_SIDE = 256
"""Height and width in pixels of the image for which multiply-accumulates are reported, as in the papers."""


@dataclass(frozen=True, kw_only=True)
class TicketFolder:
    """Content of a ticket's folder, from which a round starts."""

    ticket: Ticket
    parent: Parent
    digests: dict[str, str]
    """SHA-256 digests of the two files that determine the next round: `ticket` and `origin`."""
    metrics: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> "TicketFolder":
        """Read a ticket's folder. Raises UserError if a file is missing or damaged."""
        paths = {name: folder / f"{name}.safetensors" for name in ("ticket", "origin")}
        ticket = reading.read(paths["ticket"])
        origin, origin_step = reading.read_state(paths["origin"], ticket)
        return cls(
            ticket=ticket,
            parent=Parent(
                network=ticket.network,
                state=ticket.state,
                masks=ticket.masks,
                routing=ticket.routing,
                origin=origin,
                origin_step=origin_step,
            ),
            digests={"ticket": ticket.sha256, "origin": sha256_of(paths["origin"])},
            metrics=read_json(folder / "metrics.json"),
        )

    def weight_steps(self, plan: Plan, steps: int) -> dict[str, float]:
        """Return the next ticket's metric `weight_steps`: optimiser steps of its weights since their initialisation.

        The result is empty if the weights continue from a ticket whose steps are not known. The metric follows from the
        lineages alone, so DVC need not know that the parent's metrics are read.
        """
        if not plan.samples.new:
            return {"weight_steps": plan.start_step + steps}
        known = self.metrics.get("weight_steps")
        return {} if known is None else {"weight_steps": known + steps}

    def initialise(self, seed: int) -> State:
        """Return the complete state of the same network, untrained, from another seed."""
        return copied(networks.build(self.ticket.network.model_copy(update={"seed": seed})).state_dict())


def write(
    folder: Path, ticket: Ticket, origin: State, history: list[dict[str, float]], spent: dict[str, float]
) -> None:
    """Fill an empty `folder`; `spent` is added to the metrics that follow from the ticket itself."""
    path = folder / "ticket.safetensors"
    writing.write(ticket, path)
    writing.write_state(origin, folder / "origin.safetensors", ticket.lineage.origin_step)
    table(history).to_parquet(folder / "history.parquet", index=False)
    write_json(folder / "metrics.json", metrics(ticket) | {"ticket_mb": path.stat().st_size / 1e6} | spent)


def table(history: list[dict[str, float]]) -> pd.DataFrame:
    """Return the records of a training as a table with a fixed order of columns, as a checkpoint keeps none."""
    terms = sorted({name for record in history for name in record if name.startswith(TERM)})
    return pd.DataFrame(history, columns=["step", *CURVES, *terms])


def metrics(ticket: Ticket) -> dict[str, float]:
    """Compute densities, kept parameters and the multiply-accumulates (1e9) of one MACS_SIDE x MACS_SIDE image.

    The latter are those of all sub-networks together; of a network with several heads, those with the head of the most work.
    """
    network = ticket.outline()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    density = densities(ticket.mask, parameters)
    each = [macs(part.outline(), part.mask, MACS_SIDE, MACS_SIDE) for part in ticket.by_head()]
    work = max(each, key=lambda macs: macs.kept_g)
    return {
        "density/prunable": density.prunable,
        "density/all": density.all,
        "params/kept": parameters - ticket.mask.total + ticket.mask.kept,
        "macs_g": work.kept_g,
        "macs_dense_g": work.dense_g,
    }

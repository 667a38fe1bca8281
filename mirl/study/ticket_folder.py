"""A ticket's folder: ticket.safetensors, origin.safetensors, metrics.json and, once trained, history.parquet."""

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
"""Multiply-accumulates are reported for images of this height and width, as in the papers."""


@dataclass(frozen=True, kw_only=True)
class TicketFolder:
    """What a round starts from."""

    ticket: Ticket
    parent: Parent
    digests: dict[str, str]
    """sha256 of the two files that decide the next round: `ticket` and `origin`."""
    metrics: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> "TicketFolder":
        """UserError where a file is missing or damaged."""
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
        """For the metrics of the ticket that comes of `plan`: how long its weights were trained since their initialisation.

        In optimiser steps; empty where they go on from those of a ticket of which it is not known. It follows from the
        lineages alone, so DVC need not know that the parent's metrics are read.
        """
        if not plan.samples.new:
            return {"weight_steps": plan.start_step + steps}
        known = self.metrics.get("weight_steps")
        return {} if known is None else {"weight_steps": known + steps}

    def initialise(self, seed: int) -> State:
        """The complete state of the same network, untrained, from another seed."""
        return copied(networks.build(self.ticket.network.model_copy(update={"seed": seed})).state_dict())


def write(
    folder: Path, ticket: Ticket, origin: State, history: list[dict[str, float]], spent: dict[str, float]
) -> None:
    """Fill an empty `folder`; `spent` joins the metrics that follow from the ticket itself."""
    path = folder / "ticket.safetensors"
    writing.write(ticket, path)
    writing.write_state(origin, folder / "origin.safetensors", ticket.lineage.origin_step)
    table(history).to_parquet(folder / "history.parquet", index=False)
    write_json(folder / "metrics.json", metrics(ticket) | {"ticket_mb": path.stat().st_size / 1e6} | spent)


def table(history: list[dict[str, float]]) -> pd.DataFrame:
    """The records of a training as a table, whose columns have one order: a checkpoint keeps none."""
    terms = sorted({name for record in history for name in record if name.startswith(TERM)})
    return pd.DataFrame(history, columns=["step", *CURVES, *terms])


def metrics(ticket: Ticket) -> dict[str, float]:
    """Densities, kept parameters and multiply-accumulates of one MACS_SIDE x MACS_SIDE image."""
    network = ticket.outline()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    density = densities(ticket.mask, parameters)
    work = macs(network, ticket.mask, MACS_SIDE, MACS_SIDE)
    return {
        "density/prunable": density.prunable,
        "density/all": density.all,
        "params/kept": parameters - ticket.mask.total + ticket.mask.kept,
        "macs_g": work.kept_g,
        "macs_dense_g": work.dense_g,
    }

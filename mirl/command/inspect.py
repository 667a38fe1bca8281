"""`mirl inspect`: verifies a ticket file and shows what it is."""

import json
from typing import Any

import torch

from mirl.command.address import ticket_file
from mirl.terminal import printable
from mirl.tickets import reading

BAR = 24
"""Characters of a bar that stands for a layer that is kept whole."""
EIGHTHS = " ▏▎▍▌▋▊▉█"


def run(address: str, as_json: bool) -> int:
    """Exit code 0; UserError where the ticket is missing, damaged or of a newer format."""
    facts = look(address)
    print(json.dumps(facts, indent=2, sort_keys=True) if as_json else text(facts))
    return 0


def look(address: str) -> dict[str, Any]:
    """A ticket's header, its file's size and digest, and what each layer keeps: plain JSON data.

    The file is read whole and checked: a changed weight, and a network that it does not fit, are UserErrors.
    """
    path = ticket_file(address)
    ticket = reading.read(path)
    layers = {
        name: {"kept": kept, "total": keep.numel(), "density": kept / keep.numel()}
        for name, keep in ticket.mask.items()
        for kept in [int(torch.count_nonzero(keep))]  # a sum of bool would widen each to eight bytes
    }
    return {
        **reading.inspect(path),
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": ticket.sha256,
        "verified": True,
        "layers": layers,
    }


def text(facts: dict[str, Any]) -> str:
    """The facts for people: a table, and a bar for each layer's density."""
    lineage, density, layers = facts["lineage"], facts["density"], facts["layers"]
    rounded = facts["values"]["packed_from"]
    kept, total = (sum(layer[key] for layer in layers.values()) for key in ("kept", "total"))
    rows = {
        "file": f"{facts['file']}, {facts['bytes'] / 1e6:.2f} MB, version {facts['version']}, verified",
        "network": f"{facts['network']['name']} {json.dumps(facts['network'].get('options', {}))}",
        "density": f"{density['prunable']:.2%} of the prunable weights ({kept:,} of {total:,}), "
        f"{density['all']:.2%} of all parameters",
        "values": facts["values"]["kind"] + (f", rounded from ticket {rounded}" if rounded else ""),
        "routing": facts["routing"]["kind"],
        "ticket": f"{lineage['name']}, arm {lineage['arm'] or '-'}, method {lineage['method']}, "
        f"{lineage['round']} trainings led here",
        "training": f"{lineage['steps']} steps, seed {lineage['seed']}, "
        f"origin at step {lineage['origin_step']}",
        "parent": lineage["parent"] or "none",
        "data": lineage["data"] or "none",
        "fingerprint": lineage["fingerprint"],
        "sha256": facts["sha256"],
    }
    wide = max(map(len, layers), default=0)
    return "\n".join(
        [f"{name:12} {printable(value)}" for name, value in rows.items()]
        + ["", "density of each layer"]
        + [f"{name:{wide}}  {_row(layer)}" for name, layer in layers.items()]
    )


def _row(layer: dict[str, Any]) -> str:
    lost = "" if layer["kept"] else "  nothing is left"
    return f"{bar(layer['density'])} {layer['density']:7.2%}  {layer['kept']:,} of {layer['total']:,}{lost}"


def bar(density: float) -> str:
    """BAR characters, filled from the left to an eighth of one; only 0 has no mark at all."""
    eighths = max(round(density * BAR * 8), 1 if density else 0)
    whole, rest = divmod(eighths, 8)
    return (EIGHTHS[8] * whole + EIGHTHS[rest] * (rest > 0)).ljust(BAR, "·")

"""`mirl inspect`: verifies a ticket file and shows its contents."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from mirl.command.address import ticket_file
from mirl.methods import remembered
from mirl.networks import is_known
from mirl.sparsity.mask import Mask
from mirl.sparsity.sharing import Sharing
from mirl.sparsity.structure import Structure, Unstructured
from mirl.terminal import printable
from mirl.tickets import reading
from mirl.tickets.container import sha256_of
from mirl.tickets.routing import ROUTINGS
from mirl.tickets.ticket import Ticket

BAR = 24
"""Length, in characters, of the bar of a layer that is kept whole."""
EIGHTHS = " ▏▎▍▌▋▊▉█"


def run(address: str, as_json: bool) -> int:
    """Print the facts of a ticket; return exit code 0.

    Raises UserError if the ticket is missing, damaged or of a newer format.
    """
    facts = look(address)
    print(json.dumps(facts, indent=2, sort_keys=True) if as_json else text(facts))
    return 0


def look(address: str) -> dict[str, Any]:
    """Return a ticket's header, the size and digest of its file, and the weights each layer keeps, as plain JSON data.

    If the ticket names several masks, the density of each and whether they are nested are added, and the scale of each if
    its network has several heads. The whole file is read and checked: raises UserError if a weight was changed or the
    weights do not fit the network. If the ticket's network was not allowed, the network is not built, no weight is read,
    and `verified` is false.
    """
    path = ticket_file(address)
    header = reading.inspect(path)
    if not is_known(header["network"]["name"]):
        return _unverified(path, header)
    ticket = reading.read(path)
    layers = {
        name: {"kept": kept, "total": keep.numel(), "density": kept / keep.numel()}
        for name, keep in ticket.mask.items()
        for kept in [int(torch.count_nonzero(keep))]  # a sum of bool would widen each to eight bytes
    }
    return {
        **header,
        **(_masks(ticket, header) if "masks" in header else {}),
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": ticket.sha256,
        "verified": True,
        "layers": layers,
    }


def _masks(ticket: Ticket, header: dict[str, Any]) -> dict[str, Any]:
    """Return what each mask of a ticket that names its masks keeps, and whether the masks are nested.

    `own` is what no mask before it keeps, in weights and in the units of the arm's structure, and `shared` is the rest. If
    the ticket is told its task, `uses` counts the weights by their owners.
    """
    structure = _structure(ticket)
    uses = Sharing.of(ticket.masks).used if ticket.routing.told else None
    found = []
    for mask in header["masks"]:
        kept, own = ticket.masks[mask["name"]], ticket.masks.own(mask["name"])
        parts = {"own": own, "shared": Mask({layer: keep & ~own[layer] for layer, keep in kept.items()})}
        counts: dict[str, dict[str, int]] = {
            name: {"weights": part.kept, "units": structure.units(part)} for name, part in parts.items()
        }
        counts |= {"uses": uses(mask["name"])} if uses else {}
        scale = {"scale": ticket.heads[mask["name"]]} if ticket.heads else {}
        found.append({**mask, **scale, "density": kept.density, **counts})
    return {"masks": found, "nested": ticket.masks.nested}


def _structure(ticket: Ticket) -> Structure:
    """Return the structure of the arm that made the ticket; every weight by itself if it is not known."""
    with suppress(ValidationError):
        structure: Structure = getattr(
            remembered(ticket.lineage.settings.get("arm", {})), "structure", Unstructured()
        )
        return structure
    return Unstructured()


def _unverified(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a ticket that its header alone gives."""
    totals = {name: math.prod(shape) for name, shape in header["shapes"].items()}
    layers = {
        name: {"kept": kept, "total": totals[name], "density": kept / totals[name]}
        for name, kept in header["kept"].items()
    }
    masks = [
        {**mask, "density": sum(mask["kept"]) / sum(totals.values())} for mask in header.get("masks", [])
    ]
    return {
        **header,
        **({"masks": masks, "nested": None} if masks else {}),
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "verified": False,
        "layers": layers,
    }


def text(facts: dict[str, Any]) -> str:
    """Format the facts for people: a table, and a bar for the density of each mask and layer."""
    lineage, density, layers = facts["lineage"], facts["density"], facts["layers"]
    rounded = facts["values"]["packed_from"]
    kept, total = (sum(layer[key] for layer in layers.values()) for key in ("kept", "total"))
    rows = {
        "file": f"{facts['file']}, {facts['bytes'] / 1e6:.2f} MB, version {facts['version']}, {_verified(facts)}",
        "network": _network(facts["network"]),
        "density": f"{density['prunable']:.2%} of the prunable weights ({kept:,} of {total:,}), "
        f"{density['all']:.2%} of all parameters",
        "values": facts["values"]["kind"] + (f", rounded from ticket {rounded}" if rounded else ""),
        "routing": ROUTINGS[facts["routing"]["kind"]].model_validate(facts["routing"]).words(),
        **({"masks": _nesting(len(facts["masks"]), facts["nested"])} if "masks" in facts else {}),
        "ticket": f"{lineage['name']}, arm {lineage['arm'] or '-'}, method {lineage['method']}, "
        f"{lineage['round']} trainings led here",
        "training": f"{lineage['steps']} steps, seed {lineage['seed']}, "
        f"origin at step {lineage['origin_step']}",
        "parent": lineage["parent"] or "none",
        "data": lineage["data"] or "none",
        "fingerprint": lineage["fingerprint"],
        "sha256": facts["sha256"],
    }
    masks = {
        mask["name"]: {
            "kept": sum(mask["kept"]),
            "total": total,
            "density": mask["density"],
            **_ownership(mask),
        }
        for mask in facts.get("masks", [])
    }
    return "\n".join(
        [f"{name:12} {printable(value)}" for name, value in rows.items()]
        + (_table("mask", masks) if masks else [])
        + _table("layer", layers)
        + _sharing(facts.get("masks", []), total)
    )


def _network(spec: dict[str, Any]) -> str:
    """Name the network and its options, and those of narrower ones that sub-networks are of."""
    narrower = [f"; {name} in {json.dumps(options)}" for name, options in spec.get("narrower", {}).items()]
    return f"{spec['name']} {json.dumps(spec.get('options', {}))}{''.join(narrower)}"


def _sharing(masks: list[dict[str, Any]], total: int) -> list[str]:
    """Return a table of the share of all weights that each mask, a row, uses of each owner, a column; empty for one mask."""
    if len(masks) < 2 or not all("uses" in mask for mask in masks):
        return []
    names = [mask["name"] for mask in masks]
    wide = max(map(len, names))
    rows = [
        [
            mask["name"],
            *(f"{mask['uses'][owner] / total:.2%}" if owner in mask["uses"] else "" for owner in names),
        ]
        for mask in masks
    ]
    free = 1 - sum(mask["uses"][mask["name"]] for mask in masks) / total
    return [
        "",
        f"whose weights each uses, of all prunable ones; {free:.2%} are free",
        *("  ".join(f"{cell:{wide}}" for cell in row).rstrip() for row in (["", *names], *rows)),
    ]


def _ownership(mask: dict[str, Any]) -> dict[str, Any]:
    """Return in words what a mask has of its own and shares with those before it, and its scale, if that is known."""
    parts = {name: mask[name] for name in ("own", "shared") if name in mask}
    return {
        "owned": {
            name: f"{part['weights']:,}"
            + (f" in {part['units']:,} units" if part["units"] < part["weights"] else "")
            for name, part in parts.items()
        },
        "scale": mask.get("scale"),
    }


def _verified(facts: dict[str, Any]) -> str:
    """Say whether the file is verified, and if not, how to verify it."""
    name = facts["network"]["name"]
    return (
        "verified"
        if facts["verified"]
        else f"not verified: `--network {name}` runs the code of its network and does"
    )


def _nesting(count: int, nested: bool | None) -> str:
    """Say how many masks there are and whether they are nested; `nested` is None if that is not known."""
    if count == 1 or nested is None:
        return str(count)
    return f"{count}, {'each keeps all that the one before it keeps' if nested else 'not nested'}"


def _table(what: str, densities: dict[str, dict[str, Any]]) -> list[str]:
    wide = max(map(len, densities), default=0)
    return [
        "",
        f"density of each {what}",
        *(f"{name:{wide}}  {_row(part)}" for name, part in densities.items()),
    ]


def _row(part: dict[str, Any]) -> str:
    lost = "" if part["kept"] else "  nothing is left"
    owned = "".join(f"  {name} {words}" for name, words in part.get("owned", {}).items())
    scale = f"  enlarges by {part['scale']}" if part.get("scale") else ""
    shares = f"{bar(part['density'])} {part['density']:7.2%}  {part['kept']:,} of {part['total']:,}"
    return f"{shares}{lost}{owned}{scale}"


def bar(density: float) -> str:
    """Draw a density in [0, 1] as BAR characters, filled from the left in eighths; only 0 leaves the bar empty."""
    eighths = max(round(density * BAR * 8), 1 if density else 0)
    whole, rest = divmod(eighths, 8)
    return (EIGHTHS[8] * whole + EIGHTHS[rest] * (rest > 0)).ljust(BAR, "·")

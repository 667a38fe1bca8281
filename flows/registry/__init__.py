"""Interface to MLflow's model registry: register a ticket, verify it, move the alias, roll back.

python -m flows.registry promote         the report's ticket becomes the champion
python -m flows.registry rollback        the champion before it is the champion again
python -m flows.registry list            every registered version
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from flows.registry.card import Card
from flows.registry.registered_model import CHAMPION, PREVIOUS, RegisteredModel, number, title
from flows.registry.verification import Rescore, rescorer, sound, verify
from flows.tracking import store
from flows.tracking.facts import read_facts, study_file
from flows.tracking.importing import sync
from flows.tracking.store import Store, plain_errors
from mirl.config import UserError
from mirl.evaluation.comparison import work_share
from mirl.networks import is_own
from mirl.promotion import Champion, PolicySection, stays
from mirl.study.workspace import Workspace, read_decision
from mirl.terminal import printable
from mirl.tickets.container import sha256_of
from mirl.tickets.reading import inspect, read


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Result of a promotion."""

    ticket: str | None
    """Name of the ticket that is the champion now; None if the report admits none or the champion stays."""
    version: str | None
    said: str
    """The outcome in a sentence or two."""


def promote(root: Path, rescore: Rescore | None = None, force: bool = False) -> Promotion:
    """Make the ticket that the report decided on the champion.

    The ticket is registered, fetched back from the registry and scored again by `rescore` (None: as the study's
    `evaluate` does) before the alias moves. Promoting the same file twice makes no second version. The result says if
    there is nothing to promote, or if the champion stays: it is no worse, or was measured on other data (`force`
    replaces it all the same).
    Code of the store is never run: a version whose other files are not those that this mirl makes is registered anew.
    Raises UserError if the report is missing or older than its ticket, the network is not mirl's, or the ticket scores
    differently.
    """
    files = Workspace(root)
    decision = read_decision(files.report)
    name, reason = decision.ticket, decision.reasons[0]
    if name is None:
        return Promotion(ticket=None, version=None, said=reason)
    ticket = files.ticket(name) / "ticket.safetensors"
    card = _card(root, name, _checked(ticket, decision.sha256))
    _refuse_own_network(ticket)
    opened = Store(root)
    with plain_errors(opened.uri), opened.locked("registry"):
        registered = RegisteredModel(opened)
        candidates = registered.of_ticket(card.sha256)
        version, remark = sound(registered, candidates, card, ticket, lambda: sync(root, [name])[0].run_id)
        champion = registered.aliased(CHAMPION)
        if champion and number(champion) == number(version):
            return Promotion(
                ticket=name, version=number(version), said=f"{title(version)} is the champion already"
            )
        if champion and not force and (why := _stays(root, champion, version)):
            return Promotion(ticket=None, version=None, said=f"{why}{remark}")
        difference = verify(registered, version, files.scores(name), rescore or rescorer(root))
        if (
            champion and champion.tags.get("sha256") != card.sha256
        ):  # else the same ticket was registered anew
            registered.point(PREVIOUS, champion)
        registered.point(CHAMPION, version)
    verified = f"fetched back from the registry it scores the same, to {difference:.4f} dB"
    said = f"{title(version)} is the champion; {verified}{remark}. {reason}"
    return Promotion(ticket=name, version=number(version), said=said)


def rollback(root: Path) -> str:
    """Swap champion and previous, and return what happened.

    Somebody may have changed the previous one since: its ticket is read again, and its other files have to be those
    that this mirl makes of it; if they are not, it is registered anew. Raises UserError if there is none to go back to.
    """
    opened = _opened(root)
    with plain_errors(opened.uri), opened.locked("registry"):
        registered = RegisteredModel(opened)
        champion, previous = registered.aliased(CHAMPION), registered.aliased(PREVIOUS)
        if champion is None:
            raise UserError(
                "there is no champion to roll back from; `python -m flows.registry promote` makes one"
            )
        if previous is None or number(previous) == number(champion):
            raise UserError(f"{title(champion)} is the only champion so far; there is none to roll back to")
        ticket, card, run = registered.ticket(previous), Card.of(previous), previous.run_id
        read(ticket)  # from end to end
        candidates = [previous, *registered.of_ticket(card.sha256)]
        version, remark = sound(registered, candidates, card, ticket, lambda: run)
        registered.point(CHAMPION, version)
        if number(version) != number(champion):
            registered.point(PREVIOUS, champion)
    return f"{title(version)} is the champion again; {title(champion)} is the previous one{remark}"


def versions(root: Path) -> pd.DataFrame:
    """Return a table of every registered version, newest first: alias, ticket, study, density, verified and sha256."""
    opened = _opened(root)
    columns = ["ticket", "study", "density", "verified", "sha256"]
    with plain_errors(opened.uri):
        registered = RegisteredModel(opened)
        aliases = registered.aliases()
        rows = [
            {"version": number(version)}
            | {"alias": ", ".join(alias for alias, at in aliases.items() if at == number(version))}
            | {column: printable(version.tags.get(column, "")) for column in columns}
            for version in registered.all()
        ]
    return pd.DataFrame(rows, columns=["version", "alias", *columns])


def download(address: str) -> Path:
    """Return the ticket file at `models:/mirl@champion` or `models:/mirl/3`, from the store of the current folder.

    Raises UserError if there is no such version, or the file's sha256 is not that of its tag. Who can change the file
    can change the tag: the check tells damage, not malice. A ticket carries no code; a wrong one restores wrong
    pictures.
    """
    opened = _opened(Path.cwd())
    with plain_errors(opened.uri):
        registered = RegisteredModel(opened)
        version = registered.at(address)
        return registered.ticket(version)


def _stays(root: Path, champion: ModelVersion, challenger: ModelVersion) -> str:
    """Return why the champion stays, by the study's policy; an empty string if the challenger replaces the champion."""
    cards, policy = (Card.of(champion), Card.of(challenger)), _policy(root)
    standing, rival = (_standing(card, policy) for card in cards)
    on_same_data = cards[0].dataset == cards[1].dataset
    if not on_same_data or standing is None or rival is None:
        why = (
            "its work is not known"
            if on_same_data and policy.cost == "work"
            else "it was measured on other data"
        )
        return (
            f"{title(champion)} stays the champion: {why}, its figures and those of "
            f"{title(challenger)} do not compare; `python -m flows.registry promote --force` replaces it"
        )
    reason = stays(standing, rival, policy)
    return (
        f"{title(champion)}: {reason}; `python -m flows.registry promote --force` replaces it"
        if reason
        else ""
    )


def _policy(root: Path) -> PolicySection:
    return PolicySection.read(study_file(root).get("promote", {}), "params.yaml: promote")


def _standing(card: Card, policy: PolicySection) -> Champion | None:
    """Return the figures of a version that the policy compares, or None if its tags do not say."""
    cost = card.density if policy.cost == "weights" else card.work
    if cost is None or card.psnr_db is None:
        return None
    return Champion(sha256=card.sha256, cost=cost, psnr_db=card.psnr_db)


def _card(root: Path, name: str, sha256: str) -> Card:
    """Return the card from which the tags of a version for ticket `name` of the study in `root` are made."""
    facts, study = read_facts(root, name), study_file(root)["study"]
    numbers = {"density": "density/prunable", "psnr_db": "psnr_db/mean"}
    known = {tag: float(facts.metrics[key]) for tag, key in numbers.items() if key in facts.metrics}
    work = work_share(facts.metrics) if _policy(root).cost == "work" else None
    return Card(sha256=sha256, ticket=name, study=study, dataset=facts.dataset, work=work, **known)


def _checked(ticket: Path, expected: str) -> str:
    if not ticket.exists():
        raise UserError(f"{ticket} does not exist, but the report decided on it; run `dvc repro`")
    sha256 = sha256_of(ticket)
    if expected and sha256 != expected:
        raise UserError(
            f"{ticket} is not the file that the report assessed; run `dvc repro`, then promote again"
        )
    return sha256


def _refuse_own_network(ticket: Path) -> None:
    network = inspect(ticket)["network"]["name"]
    if is_own(network):
        raise UserError(
            f"{ticket} has the network {network}, and a registered model carries mirl's code alone, which cannot build it; "
            f"restore with `mirl restore --ticket {ticket} --network {network}`"
        )


def _opened(root: Path) -> Store:
    if not store.exists(root):
        raise UserError(
            f"there is no {store.DATABASE} in {root.resolve()}; run this in the study's folder, after "
            "`python -m flows.registry promote`, or set MLFLOW_TRACKING_URI"
        )
    return Store(root)

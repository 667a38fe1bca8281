"""The door to MLflow's model registry: register a ticket, verify it, move the alias, roll back.

python -m flows.registry promote         the report's ticket becomes the champion
python -m flows.registry rollback        the champion before it is the champion again
python -m flows.registry list            every registered version
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from flows.registry import model_files
from flows.registry.registered import CHAMPION, PREVIOUS, Registered, number, title
from flows.tracking import store
from flows.tracking.facts import study_file
from flows.tracking.store import Store, plain_errors
from mirl.config import UserError
from mirl.evaluation.scoring import Restore, score
from mirl.promotion import Champion, PolicySection, stays
from mirl.study.params import read_params
from mirl.study.stages import held_out_images
from mirl.study.workspace import Workspace, read_json
from mirl.tickets.container import sha256_of

TOLERANCE_DB = 0.01
"""The registered ticket scores as its file did, within this; other hardware adds up in another order."""
IMAGES_PER_TASK = 2
"""How many test images of each task are scored again before the alias moves."""

Rescore = Callable[[Restore], pd.DataFrame]
"""Scores a restorer as `evaluate` does, on some of its images; columns image, task, protocol, psnr_db."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What came of a promotion."""

    ticket: str | None
    """Name of the ticket that is the champion now; None where the report admits none."""
    version: str | None
    said: str
    """The outcome in a sentence or two."""


def promote(root: Path, rescore: Rescore | None = None, force: bool = False) -> Promotion:
    """Make the ticket that the report decided on the champion.

    It is registered, loaded back from the registry and scored again by `rescore` (None: as the study's
    `evaluate` does) before the alias moves. Promoting the same file twice makes no second version; nothing to
    promote is an answer, and so is a champion that stays: it is no worse, or was measured on other data (`force`
    replaces it all the same). UserError where the report is missing or older than its ticket, or the loaded model
    scores differently.
    """
    files = Workspace(root)
    decision = read_json(files.report / "decision.json")
    name, reason = decision["ticket"], decision["reasons"][0]
    if name is None:
        return Promotion(ticket=None, version=None, said=reason)
    sha256 = _checked(files.ticket(name) / "ticket.safetensors", decision.get("sha256"))
    opened = Store(root)
    with plain_errors(opened.uri), opened.locked("registry"):
        registered = Registered(opened)
        version = registered.of_ticket(sha256) or registered.register(root, name, sha256)
        champion = registered.aliased(CHAMPION)
        if champion and number(champion) == number(version):
            return Promotion(
                ticket=name, version=number(version), said=f"{title(version)} is the champion already"
            )
        if champion and not force and (why := _stays(root, champion, version)):
            return Promotion(ticket=None, version=None, said=why)
        difference = _verify(registered, version, files.scores(name), rescore or rescorer(root))
        if champion:
            registered.point(PREVIOUS, champion)
        registered.point(CHAMPION, version)
    verified = f"loaded back from the registry it scores the same, to {difference:.4f} dB"
    said = f"{title(version)} is the champion; {verified}. {reason}"
    return Promotion(ticket=name, version=number(version), said=said)


def rollback(root: Path) -> str:
    """Swap champion and previous; says what happened, UserError where there is none to go back to."""
    opened = _opened(root)
    with plain_errors(opened.uri), opened.locked("registry"):
        registered = Registered(opened)
        champion, previous = registered.aliased(CHAMPION), registered.aliased(PREVIOUS)
        if champion is None:
            raise UserError(
                "there is no champion to roll back from; `python -m flows.registry promote` makes one"
            )
        if previous is None or number(previous) == number(champion):
            raise UserError(f"{title(champion)} is the only champion so far; there is none to roll back to")
        registered.point(CHAMPION, previous)
        registered.point(PREVIOUS, champion)
    return f"{title(previous)} is the champion again; {title(champion)} is the previous one"


def versions(root: Path) -> pd.DataFrame:
    """Every registered version, the newest first, with its aliases, ticket, study and density."""
    opened = _opened(root)
    columns = ["ticket", "study", "density", "verified", "sha256"]
    with plain_errors(opened.uri):
        registered = Registered(opened)
        aliases = registered.aliases()
        rows = [
            {"version": number(version)}
            | {"alias": ", ".join(alias for alias, at in aliases.items() if at == number(version))}
            | {column: version.tags.get(column, "") for column in columns}
            for version in registered.all()
        ]
    return pd.DataFrame(rows, columns=["version", "alias", *columns])


def download(address: str) -> Path:
    """The ticket file at `models:/mirl@champion` or `models:/mirl/3`, from the store of the current folder.

    UserError where there is no such version, or the file is not the one that was registered.
    """
    opened = _opened(Path.cwd())
    with plain_errors(opened.uri):
        registered = Registered(opened)
        version = registered.at(address)
        sha256 = version.tags.get("sha256", "")
        folder = opened.root / ".mirl" / "registry" / sha256[:12]
        ticket = folder / "ticket.safetensors"  # what came from a server stays here
        if not ticket.exists() or sha256_of(ticket) != sha256:
            ticket = registered.fetch(version, folder, model_files.TICKET_PLACE)
    if sha256_of(ticket) != sha256:
        raise UserError(
            f"{ticket} is not the ticket that was registered as {address}; restore it from a backup"
        )
    return ticket


def rescorer(root: Path) -> Rescore:
    """Scoring as the study's `evaluate` does it, on the first IMAGES_PER_TASK test images of each task."""
    section = read_params(root / "params.yaml").evaluate
    few = section.model_copy(update={"limit": min(section.limit or IMAGES_PER_TASK, IMAGES_PER_TASK)})
    return lambda restore: score(restore, held_out_images(root), few)


def _stays(root: Path, champion: ModelVersion, challenger: ModelVersion) -> str:
    """Why the champion stays, by the study's policy; empty where the challenger replaces it."""
    if champion.tags.get("dataset") != challenger.tags.get("dataset") or "psnr_db" not in champion.tags:
        return (
            f"{title(champion)} stays the champion: it was measured on other data, its figures and those of "
            f"{title(challenger)} do not compare; `python -m flows.registry promote --force` replaces it"
        )
    policy = PolicySection.read(study_file(root).get("promote", {}), "params.yaml: promote")
    reason = stays(_standing(champion), _standing(challenger), policy)
    return (
        f"{title(champion)}: {reason}; `python -m flows.registry promote --force` replaces it"
        if reason
        else ""
    )


def _standing(version: ModelVersion) -> Champion:
    tags = version.tags
    return Champion(sha256=tags["sha256"], density=float(tags["density"]), psnr_db=float(tags["psnr_db"]))


def _checked(ticket: Path, expected: str | None) -> str:
    if not ticket.exists():
        raise UserError(f"{ticket} does not exist, but the report decided on it; run `dvc repro`")
    sha256 = sha256_of(ticket)
    if expected and sha256 != expected:
        raise UserError(
            f"{ticket} is not the file that the report judged; run `dvc repro`, then promote again"
        )
    return sha256


def _verify(registered: Registered, version: ModelVersion, scores: Path, rescore: Rescore) -> float:
    """Load `version` back, score it again: the largest difference in dB; UserError over TOLERANCE_DB."""
    with tempfile.TemporaryDirectory() as scratch:
        model = model_files.load(registered.fetch(version, Path(scratch)))
    again = rescore(model.restorer.run)
    keys = ["image", "task", "protocol"]
    both = again.merge(pd.read_parquet(scores / "scores.parquet"), on=keys, suffixes=("", "_before"))
    if again.empty or len(both) < len(again):
        raise UserError(
            f"scores/{scores.name} is of other images or protocols than params.yaml asks for; run "
            "`dvc repro`, then promote again"
        )
    difference = (both["psnr_db"] - both["psnr_db_before"]).abs()
    registered.mark(version, bool(difference.max() <= TOLERANCE_DB))
    if not difference.max() <= TOLERANCE_DB:  # NaN does not pass
        worst = both.iloc[int(difference.fillna(float("inf")).to_numpy().argmax())]
        raise UserError(
            f"{title(version)}, loaded back from the registry, gives {worst['psnr_db']:.3f} dB on "
            f"{worst['image']} ({worst['task']}), expected {worst['psnr_db_before']:.3f}; the champion "
            f"stays. If other hardware evaluated it, run `dvc repro -s -f evaluate@{scores.name}` and "
            "`dvc repro` here, then promote again"
        )
    return float(difference.max())


def _opened(root: Path) -> Store:
    if not store.exists(root):
        raise UserError(
            f"there is no {store.DATABASE} in {root.resolve()}; run this in the study's folder, after "
            "`python -m flows.registry promote`, or set MLFLOW_TRACKING_URI"
        )
    return Store(root)

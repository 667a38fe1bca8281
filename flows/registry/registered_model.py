"""Versions of the registered model: finding and making them, and the aliases that point to them."""

import re
import secrets
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from flows.registry.card import Card
from flows.registry.version_artifacts import VersionArtifacts
from flows.tracking.store import Store
from mirl.config import UserError
from mirl.terminal import printable

MODEL = "mirl"
CHAMPION, PREVIOUS = "champion", "previous"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no model; no version or alias


class RegisteredModel:
    """The registered model of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.client = store.client

    def all(self) -> list[ModelVersion]:
        """Return every version, the newest first."""
        found = self.client.search_model_versions(f"name='{MODEL}'")
        return sorted(found, key=lambda version: -_rank(version))

    def of_ticket(self, sha256: str) -> list[ModelVersion]:
        """Return the versions whose tag names the ticket file of this sha256, the oldest first."""
        return [version for version in reversed(self.all()) if version.tags.get("sha256") == sha256]

    def aliased(self, alias: str) -> ModelVersion | None:
        """Return the version that `alias` points to, or None."""
        try:
            return self.client.get_model_version_by_alias(MODEL, alias)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise

    def aliases(self) -> dict[str, str]:
        """Return the number of the version of each alias."""
        try:
            found = self.client.get_registered_model(MODEL).aliases
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return {}
            raise
        return {alias: str(number) for alias, number in found.items()}

    def point(self, alias: str, version: ModelVersion) -> None:
        self.client.set_registered_model_alias(MODEL, alias, number(version))

    def mark(self, version: ModelVersion, verified: bool) -> None:
        self.client.set_model_version_tag(MODEL, number(version), "verified", "yes" if verified else "no")

    def at(self, address: str) -> ModelVersion:
        """Return the version at `models:/mirl@<alias>` or `models:/mirl/<number>`.

        Raises UserError if the address is of another form, or there is no such version.
        """
        name, at, alias = address.removeprefix("models:/").partition("@")
        name, _, number = name.partition("/")
        if not address.startswith("models:/") or not name or bool(alias) == bool(number):
            raise UserError(
                f"{address!r} is no registry address, expected models:/{MODEL}@{CHAMPION} or "
                f"models:/{MODEL}/<number>"
            )
        try:
            if at:
                return self.client.get_model_version_by_alias(name, alias)
            return self.client.get_model_version(name, number)
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise UserError(
                f"the registry at {self.store.shown} has no {address}; `python -m flows.registry list` shows "
                "what it has, `promote` makes a champion"
            ) from None

    def artifacts(self, version: ModelVersion) -> VersionArtifacts:
        """Return the files of `version`. Raises UserError if the store keeps them in a location that is not its own."""
        return VersionArtifacts(
            self.store, self.client.get_model_version_download_uri(version.name, number(version))
        )

    def ticket(self, version: ModelVersion) -> Path:
        """Return the ticket file of `version`, whose digest is that of its tag.

        Raises UserError if that file cannot be had.
        """
        return self.artifacts(version).ticket(Card.of(version).sha256)

    def difference(self, version: ModelVersion, card: Card, fresh: Path) -> str:
        """Return, in words, what of `version` is not as in `card` and the model folder `fresh`; empty if all agree."""
        try:
            if wrong := [tag for tag, value in card.tags().items() if version.tags.get(tag) != value]:
                return f"tag {wrong[0]}"
            name = self.artifacts(version).difference(fresh)
        except UserError:  # files in a location that is not the store's
            return "address of its files"
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            return "name of a file"  # one that leads out of the folder; MLflow lists none of it then
        return printable(name)

    def add(self, fresh: Path, run_id: str | None, card: Card) -> ModelVersion:
        """Add a new version with the files in `fresh`, kept with the run of its ticket.

        Raises UserError if the ticket belongs to no run.
        """
        if run_id is None:
            raise UserError(
                f"the registered ticket {card.ticket} belongs to no run of MLflow; promote it from its study"
            )
        run = self.client.get_run(run_id)
        self.store.own(run.info.artifact_uri)
        # A name that nobody can have put files under before; also, a run may have several models.
        name = f"model-{card.sha256[:12]}-{secrets.token_hex(4)}"
        self.client.log_artifacts(run_id, str(fresh), name)
        self._make_sure_of_the_model()
        return self.client.create_model_version(
            MODEL, f"{run.info.artifact_uri}/{name}", run_id, tags=card.tags() | {"verified": "no"}
        )

    def _make_sure_of_the_model(self) -> None:
        try:
            self.client.create_registered_model(MODEL, description="Winning tickets for image restoration")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _rank(version: ModelVersion) -> int:
    """Return the number to order versions by. Raises UserError if the store gives none."""
    if not re.fullmatch(r"\d{1,9}", number(version)):
        raise UserError(
            f"the registry has a version called {number(version)!r}, expected a number; delete it there"
        )
    return int(number(version))


def number(version: ModelVersion) -> str:
    """Return the version's number as text; SQLite gives an int, a server a str."""
    return str(version.version)


def title(version: ModelVersion) -> str:
    """Return the words by which a sentence names `version`."""
    return f"{printable(version.tags.get('ticket', 'a ticket'))} (version {number(version)} of {MODEL})"

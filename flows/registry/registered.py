"""The versions of the registered model: found, made, fetched, and what the aliases point to."""

import tempfile
from pathlib import Path

import mlflow.artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from flows.registry import model_files
from flows.tracking.importing import sync
from flows.tracking.store import Store
from mirl.config import UserError
from mirl.study.workspace import Workspace

MODEL = "mirl"
CHAMPION, PREVIOUS = "champion", "previous"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no model; no version or alias


class Registered:
    """The registered model of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.client = store.client

    def all(self) -> list[ModelVersion]:
        """Every version, the newest first."""
        found = self.client.search_model_versions(f"name='{MODEL}'")
        return sorted(found, key=lambda version: -int(version.version))

    def of_ticket(self, sha256: str) -> ModelVersion | None:
        """The version that carries the ticket file of this sha256."""
        return next(
            (version for version in reversed(self.all()) if version.tags.get("sha256") == sha256), None
        )

    def aliased(self, alias: str) -> ModelVersion | None:
        """The version that `alias` points to."""
        try:
            return self.client.get_model_version_by_alias(MODEL, alias)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise

    def aliases(self) -> dict[str, str]:
        """Alias to the number of its version."""
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
        """The version at `models:/mirl@<alias>` or `models:/mirl/<number>`; UserError where there is none."""
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

    def register(self, root: Path, name: str, sha256: str) -> ModelVersion:
        """A new version for ticket `name` of the study in `root`; its files hang on the ticket's run."""
        (synced,) = sync(root, [name])
        run = self.client.get_run(synced.run_id)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            model_files.save(Workspace(root).ticket(name) / "ticket.safetensors", folder)
            # A run may carry several: the same round trained on other hardware is another file.
            place = f"model-{sha256[:12]}"
            self.client.log_artifacts(run.info.run_id, str(folder), place)
        self._make_sure_of_the_model()
        study = self.client.get_experiment(run.info.experiment_id).name.removeprefix("mirl/")
        tags = {"sha256": sha256, "ticket": name, "study": study, "verified": "no"}
        tags |= {"dataset": run.data.tags.get("dataset", "")}
        numbers = {"density": "density/prunable", "psnr_db": "psnr_db/mean"}
        tags |= {tag: repr(run.data.metrics[key]) for tag, key in numbers.items() if key in run.data.metrics}
        return self.client.create_model_version(
            MODEL, f"{run.info.artifact_uri}/{place}", run.info.run_id, tags=tags
        )

    def fetch(self, version: ModelVersion, folder: Path, place: str = "") -> Path:
        """The files of `version`, or the one at `place` in it: where they lie on this machine, else in `folder`."""
        source = self.client.get_model_version_download_uri(version.name, number(version))
        uri = f"{source}/{place}" if place else source
        copy_to = None if uri.startswith("file:") else str(folder)
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=copy_to, tracking_uri=self.store.uri))

    def _make_sure_of_the_model(self) -> None:
        try:
            self.client.create_registered_model(MODEL, description="Winning tickets for image restoration")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def number(version: ModelVersion) -> str:
    """The version's number; SQLite gives an int, a server a str."""
    return str(version.version)


def title(version: ModelVersion) -> str:
    """How a sentence names `version`."""
    return f"{version.tags.get('ticket', 'a ticket')} (version {number(version)} of {MODEL})"

"""A ticket as the files of an MLflow model, which work without this repository.

Whoever may write to a store may change them, and MLflow runs them: mirl never loads a model, it compares its files with
those that `save` makes of the same ticket, byte for byte.
"""

import warnings
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from packaging.requirements import Requirement

import mirl
from flows.registry import model
from mirl.tickets.container import sha256_of

TICKET_PATH = "artifacts/ticket.safetensors"
"""Path of the ticket file in a model's folder."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("binary", "image")]),
    outputs=Schema([ColSpec("binary", "image")]),
    params=ParamSchema([ParamSpec("task", DataType.string, ""), ParamSpec("work", DataType.double, 0.0)]),
)


def save(ticket: Path, folder: Path) -> None:
    """Write the model of the file `ticket`, whose name is ticket.safetensors, into the new `folder`.

    The same ticket, mirl and libraries make the same bytes, wherever and whenever.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example", category=UserWarning)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(model.__file__)),
            artifacts={model.TICKET: ticket.absolute().as_uri()},  # a path would be decoded
            code_paths=[str(Path(mirl.__file__).parent)],
            signature=SIGNATURE,
            pip_requirements=requirements(),
        )
    assert (folder / TICKET_PATH).exists(), f"a model without {TICKET_PATH}"
    _forget_the_moment(folder / MLMODEL_FILE_NAME, ticket)


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a model on this disk, by their paths in the model."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def requirements() -> list[str]:
    """Return the requirements of MLflow and of mirl's core, in the versions installed here."""
    needed = [Requirement(line) for line in metadata.requires("mirl") or []]
    names = [item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})]
    # A local version such as +cpu is in no package index.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in ["mlflow", *names]]


def _forget_the_moment(description: Path, ticket: Path) -> None:
    """Replace the random id, the time and the paths of this machine that MLflow notes, none of which it reads again."""
    made = Model.load(str(description))
    made.model_uuid = sha256_of(ticket)[:32]
    made.utc_time_created = "1970-01-01 00:00:00.000000"
    flavor = made.flavors[mlflow.pyfunc.FLAVOR_NAME]
    flavor["model_code_path"] = Path(model.__file__).name
    flavor["artifacts"][model.TICKET]["uri"] = TICKET_PATH
    made.save(str(description))

"""A ticket as the files of an MLflow model, which work without this repository, and the way back."""

import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from packaging.requirements import Requirement

import mirl
from flows.registry import model
from mirl.config import UserError

TICKET_PLACE = "artifacts/ticket.safetensors"
"""Where the ticket file lies in a model's folder."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("binary", "image")]), outputs=Schema([ColSpec("binary", "image")])
)


def save(ticket: Path, folder: Path) -> None:
    """Write the model of the file `ticket`, whose name is ticket.safetensors, into the new `folder`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example", category=UserWarning)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(model.__file__)),
            artifacts={model.TICKET: str(ticket)},
            code_paths=[str(Path(mirl.__file__).parent)],
            signature=SIGNATURE,
            pip_requirements=requirements(),
        )
    assert (folder / TICKET_PLACE).exists(), f"a model without {TICKET_PLACE}"


def load(folder: Path) -> Any:
    """The `flows.registry.model.TicketModel` in `folder`, loaded as a server loads it; UserError where it is none."""
    path = sys.path
    try:
        loaded = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
    finally:
        sys.path = path  # MLflow leaves the model's copy of the code in front of ours
    if type(loaded).__name__ != model.TicketModel.__name__:
        raise UserError(
            f"the registered model is a {type(loaded).__name__}, expected one that this project registered"
        )
    return loaded


def requirements() -> list[str]:
    """What the core needs, in the versions installed here."""
    needed = [Requirement(line) for line in metadata.requires("mirl") or []]
    names = [item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})]
    # A local version such as +cpu is in no package index.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in ["mlflow", *names]]

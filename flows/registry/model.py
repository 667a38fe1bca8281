"""The registered model as code: MLflow copies this file beside the ticket file, and runs it to load both.

The input has one column `image`. Each value is an encoded picture (bytes, or base64 text) or a uint8 array of height,
width and red, green, blue; it comes back restored, of the same size or enlarged by the network's scale: as PNG bytes, or
as an array. The parameter `task`
says what to undo, for a ticket that has to be told; `work` is the share of the full work that is done, for a ticket that
can do with less (0: what is usual for it).
"""

import base64
import binascii
from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

from mirl.config import UserError
from mirl.restore import image_file
from mirl.restore.restorer import Restorer
from mirl.tickets.reading import read

TICKET = "ticket"
"""Key of the ticket file among the model's artifacts."""


class TicketModel(PythonModel):
    """MLflow model that restores images with the ticket file that it carries."""

    def load_context(self, context: Any) -> None:
        """Read the ticket; MLflow calls it once, after the files are at hand."""
        self.ticket = context.artifacts[TICKET]
        self.restorer = Restorer(read(self.ticket))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Restore the column `image`. Raises UserError at a value that is no picture, or if there is no such task."""
        wishes = {"task": str((params or {}).get("task", "")), "work": (params or {}).get("work") or None}
        restored = [self._restored(value, wishes) for value in model_input["image"]]
        return pd.DataFrame({"image": pd.Series(restored, dtype=object)})

    def _restored(self, value: Any, wishes: dict[str, Any]) -> Any:
        if isinstance(value, np.ndarray):
            return self.restorer(value, **wishes)
        return self._restored_file(value, wishes)

    def _restored_file(self, value: Any, wishes: dict[str, Any]) -> bytes:
        """Return the restored picture of `value` as PNG bytes, by the rules of `mirl restore`: grey stays grey.

        Raises UserError if `value` is neither bytes nor base64 text.
        """
        try:
            data = base64.b64decode(value, validate=True) if isinstance(value, str) else bytes(value)
        except (binascii.Error, TypeError) as error:
            raise UserError(f"an image is neither bytes, base64 nor uint8 values ({error})") from None
        photograph = image_file.decode(data, "an image", scale=self.restorer.scale_for(**wishes))
        restored = photograph.with_pixels(self.restorer(photograph.rgb_HWC, **wishes))
        return image_file.encode(restored, "PNG", "an image")


mlflow.models.set_model(TicketModel())

"""Files of a command that measures tickets side by side: its table twice, and the page that shows it."""

import io
from pathlib import Path

import pandas as pd

from mirl.files import write_whole


def write(folder: Path, name: str, frame: pd.DataFrame, page: str) -> Path:
    """Write `name`.csv, .parquet and .html into `folder`, over those of an earlier run; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    parquet = io.BytesIO()
    frame.to_parquet(parquet, index=False)
    write_whole(folder / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    write_whole(folder / f"{name}.parquet", parquet.getvalue())
    write_whole(folder / f"{name}.html", page.encode())
    return folder / f"{name}.html"

"""`mirl report`: the comparison as a table in the terminal, the decision, and where to look."""

from pathlib import Path

import pandas as pd

from mirl.config import UserError
from mirl.study.workspace import Workspace, read_json

COLUMNS = {
    "name": "ticket",
    "density/prunable": "density",
    "density/all": "of all",
    "psnr_db/mean": "PSNR dB",
    "ssim/mean": "SSIM",
    "difference_db": "to dense",
    "ticket_mb": "MB",
    "verdict": "verdict",
    "beats_controls": "beats controls",
}
FORMATS = {
    "density": "{:.1%}".format,
    "of all": "{:.1%}".format,
    "PSNR dB": "{:.2f}".format,
    "SSIM": "{:.4f}".format,
    "to dense": "{:+.2f}".format,
    "MB": "{:.2f}".format,
}


def run(root: Path) -> int:
    """Exit code 0; UserError where nothing has been compared yet."""
    report = Workspace(root).report
    path = report / "comparison.parquet"
    if not path.exists():
        raise UserError(f"{path} does not exist; `dvc repro` makes it")
    table = pd.read_parquet(path)[list(COLUMNS)].rename(columns=COLUMNS)
    decision = read_json(report / "decision.json")
    print(table.to_string(index=False, formatters=FORMATS))
    print(f"\n{decision['reasons'][0]}")
    print(f"\nthe report with its pictures: {report / 'index.html'}")
    return 0

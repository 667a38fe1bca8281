"""`mirl data check`: reports all that is wrong with a study's data at once."""

import sys
from pathlib import Path

from tqdm import tqdm

from mirl.config import UserError
from mirl.data.check import check
from mirl.data.sections import BatchSection, DataSection
from mirl.training.section import TrainSection
from mirl.yaml import read_yaml


def run(params: Path) -> int:
    """Check the data; return exit code 0, or 2 if something has to be corrected.

    Leaks have to be corrected unless the `leaks` key says what to do about them. Raises UserError if params.yaml is
    wrong.
    """
    section, patch = _sections(params)
    with tqdm(desc="check", unit="image", disable=None, leave=False, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = check(section, Path(section.root), patch, progress)
    print(report.text())
    return 2 if report.problems or (report.leaks and section.leaks == "refuse") else 0


def _sections(params: Path) -> tuple[DataSection, int]:
    """Read the `data` section and the side of the training patches in pixels; nothing else is read."""
    values = read_yaml(params)
    if not isinstance(values, dict) or "data" not in values:
        raise UserError(f"{params}: `data` is missing; it says where the photographs are")
    section = DataSection.read(values["data"], f"{params}: data")
    if "train" not in values:
        return section, BatchSection().patch
    batches = TrainSection.read(values["train"], f"{params}: train").batches
    batches.refuse_unknown(section.table)
    return section, batches.patch

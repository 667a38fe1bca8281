"""`mirl data check`: reports all that is wrong with a study's data at once."""

import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from mirl.config import UserError
from mirl.data.check import Report, check
from mirl.data.sections import BatchSection, DataSection
from mirl.promotion import PolicySection
from mirl.training.section import TrainSection
from mirl.yaml import read_yaml


def run(params: Path) -> int:
    """Check the data; return exit code 0, or 2 if something has to be corrected.

    Leaks have to be corrected unless the `leaks` key says what to do about them. Raises UserError if params.yaml is
    wrong.
    """
    section, batches, policy = _sections(params)
    with tqdm(desc="check", unit="image", disable=None, leave=False, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = check(section, Path(section.root), batches.patch, progress, batches.balance)
    report = replace(report, problems=[*report.problems, *_unreferenced(report, policy)])
    print(report.text())
    return 2 if report.problems or (report.leaks and section.leaks == "refuse") else 0


def _unreferenced(report: Report, policy: PolicySection) -> list[str]:
    """Return a sentence if there are test pictures of a task for which no round is named to compare with."""
    if not isinstance(policy.reference, dict):
        return []
    lacking = sorted(report.tested - policy.reference.keys())
    return [
        f"there are test pictures for {task}, but `promote.reference` names no round for it; add one, or leave them out"
        for task in lacking
    ]


def _sections(params: Path) -> tuple[DataSection, BatchSection, PolicySection]:
    """Read the sections `data` and `promote`, and the `batches` of `train`; nothing else is read."""
    values = read_yaml(params)
    if not isinstance(values, dict) or "data" not in values:
        raise UserError(f"{params}: `data` is missing; it says where the photographs are")
    section = DataSection.read(values["data"], f"{params}: data")
    policy = PolicySection.read(values.get("promote", {}), f"{params}: promote")
    if "train" not in values:
        return section, BatchSection(), policy
    batches = TrainSection.read(values["train"], f"{params}: train").batches
    batches.refuse_unknown(section.table)
    return section, batches, policy

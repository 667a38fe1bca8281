"""`mirl dry-run`: the forecast of the study's cost, and one step of every stage at full size."""

from pathlib import Path

from mirl.command.cost import measured, text
from mirl.study.dry_run import dry_run, has_data
from mirl.study.forecast import forecast
from mirl.study.params import read_params


def run(params: Path) -> int:
    """Print the forecast, run every stage and return exit code 0. Raises UserError if a stage does not work."""
    wanted, root = read_params(params), Path()
    rounds = forecast(wanted)
    print(text(wanted, rounds, measured(wanted, rounds, root)), flush=True)
    pixels = "the prepared data" if has_data(root) else "made-up pixels, as data/prepared does not exist"
    print(f"\none step of every stage at full size, of one round of each arm, on {pixels}:", flush=True)
    for stage, seconds in dry_run(wanted, root):
        print(f"{stage:24} {seconds:8.1f} s", flush=True)
    print("everything works; what was made is deleted")
    return 0

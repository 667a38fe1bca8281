"""`mirl grow`: adds a requirement to a ticket that came without its study; what it served before stays what it was."""

import shutil
from pathlib import Path

from mirl.command.address import ticket_file
from mirl.command.target import check_free
from mirl.config import fingerprint
from mirl.study import growth
from mirl.study.growth import Growth
from mirl.study.stop_signal import StopSignal
from mirl.study.study import Study
from mirl.study.workspace import Workspace
from mirl.terminal import printable
from mirl.tickets import reading, writing
from mirl.tickets.ticket import Ticket


def run(address: str, out: Path, params_file: Path, wanted: Growth, force: bool) -> int:
    """Grow the ticket and write it to `out`; return exit code 0.

    Work that is interrupted is kept in `.mirl/grow`, and the same call goes on from there. Raises UserError if the ticket
    cannot be grown by the task, the settings do not fit or the file cannot be written, and Stopped if it is interrupted.
    """
    check_free(out, force)
    file = ticket_file(address)
    given = reading.read(file)
    growth.refuse_unfit(given, wanted.task)
    params = growth.read_growth_params(params_file, given, wanted)
    data = params.data.model_copy(update={"root": str(Path(params.data.root).absolute())})
    place = f".mirl/grow/{fingerprint({'task': wanted.task}, {'ticket': given.sha256})[:16]}"
    study = Study(root=Path(place), params=params.model_copy(update={"data": data}), should_stop=StopSignal())
    with Workspace(Path()).claimed(place):
        try:
            root = growth.plant(study, file)
            _say_data(given, growth.prepare_data(study))
            writing.write(growth.grow(study, root), out)
            shutil.rmtree(study.files.resume)
        finally:
            if not study.files.resume.exists():  # nothing was trained, or all is done
                shutil.rmtree(study.root, ignore_errors=True)
    _say_result(reading.read(out), given, out)
    return 0


def _say_data(given: Ticket, data: str) -> None:
    """Say so if the ticket's lineage names other data than the requirement is grown on."""
    before = given.lineage.data
    if before != data:
        print(
            printable(
                f"note: {given.lineage.name} is grown on other data ({data[:12]}) than its lineage names "
                f"({before[:12] or 'none'}); the grown ticket remembers both"
            ),
            flush=True,
        )


def _say_result(found: Ticket, given: Ticket, out: Path) -> None:
    *earlier, name = found.masks
    own, used = found.masks.own(name).kept, found.masks[name].kept
    print(
        printable(
            f"grown {name} into {out}: it owns {own:,} weights and shares {used - own:,} of {', '.join(earlier)}; "
            f"{found.mask.total - found.mask.kept:,} of {found.mask.total:,} are free; what {given.lineage.name} served "
            "is restored to the same bits"
        )
    )

"""`mirl restore`: photographs in, restored photographs out; a bad one does not keep the others from it."""

import errno
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mirl.command.address import ticket_file
from mirl.command.jobs import Job, plan
from mirl.config import UserError
from mirl.restore import image_file
from mirl.restore.restorer import Restorer
from mirl.tickets import format as ticket_format


def run(inputs: Sequence[Path], out: Path, ticket: str, memory: int, force: bool) -> int:
    """Exit code 0, or 1 where some of several failed; UserError where the only one did."""
    jobs = plan(inputs, out)
    if len(jobs) == 1:
        image_file.check_target(jobs[0].target, force)  # before the ticket is fetched
    loaded = ticket_format.read(ticket_file(ticket))
    restorer = Restorer(loaded, memory=memory)
    started = time.monotonic()
    if len(jobs) == 1:
        restore(restorer, jobs[0], force)
        failures: list[str] = []
    else:
        failures = restore_all(restorer, jobs, force)
    seconds = time.monotonic() - started
    done = len(jobs) - len(failures)
    name = f"the ticket {loaded.lineage.name} ({loaded.densities.prunable:.1%} of the weights)"
    where = jobs[0].target if len(jobs) == 1 else f"{done} of {len(jobs)} photographs to {out}"
    print(f"restored {where} with {name} in {seconds:.1f} s")
    for sentence in failures:
        print(f"mirl: failed: {sentence}", file=sys.stderr)
    return 1 if failures else 0


def restore_all(restorer: Restorer, jobs: Sequence[Job], force: bool) -> list[str]:
    """Restore every job that can be; a sentence for each that cannot. A full disk stops it all: OSError."""
    failures = []
    for job in tqdm(jobs, desc="restore", unit="photo", disable=None, file=sys.stderr):
        try:
            restore(restorer, job, force)
        except UserError as error:
            failures.append(str(error))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            failures.append(f"{error.filename or job.source}: {error.strerror}")
    return failures


def restore(restorer: Restorer, job: Job, force: bool) -> None:
    """Read, restore and write one photograph."""
    image_file.check_target(job.target, force)
    photograph = image_file.read(job.source)
    restored = photograph.with_pixels(restorer(photograph.rgb_HWC))
    job.target.parent.mkdir(parents=True, exist_ok=True)
    image_file.write(restored, job.target, force)

"""`mirl restore`: restores photographs; one that fails does not stop the others."""

import errno
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from mirl.command.address import ticket_file
from mirl.command.jobs import PIPE, Job, in_words, plan
from mirl.config import UserError
from mirl.restore import image_file
from mirl.restore.restorer import Advance, Restorer
from mirl.terminal import printable
from mirl.tickets import reading
from mirl.tickets.routing import Routing

BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left"


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """Options of `mirl restore`; `memory` is in bytes."""

    memory: int
    force: bool = False
    threads: int | None = None
    """Number of CPU threads; None: one for each core."""
    format: str | None = None
    """Image format of standard output; None: the format of the input."""
    task: str = ""
    """Restoration task, for a ticket whose routing asks for one."""
    work: float | None = None
    """Share of the full work, for a ticket whose routing has a choice; None: what is usual for it."""


def run(inputs: Sequence[str], out: str, ticket: str, options: RestoreOptions) -> int:
    """Restore the photographs; return exit code 0, or 1 if some of several failed.

    Files that are already in an output folder stay as they are unless `options.force` is set. Raises UserError if the
    only photograph failed.
    """
    planned = plan(inputs, out)
    jobs = planned.restore
    to_pipe = jobs[0].target == PIPE
    if options.format and not to_pipe:
        raise UserError(
            "--format is for standard output (-o -); else the ending of the file chooses the format"
        )
    if to_pipe and sys.stdout.isatty():
        raise UserError("a picture would be written to the terminal; send it on, as in `-o - > restored.png`")
    if not planned.to_folder and not to_pipe:
        image_file.check_target(jobs[0].target, options.force)  # before the ticket is fetched
    if planned.to_folder and not options.force:
        jobs = [job for job in jobs if not _is_there(job)]
    of_all = f"of {len(planned.restore)} photographs"
    there = len(planned.restore) - len(jobs)
    stay = f"{there} {of_all} are in {out} already and stay as they are; --force restores them again"
    left_out = f"left out: {in_words(planned.left_out)}; they do not end in {', '.join(image_file.FORMATS)}"
    if not jobs:
        _summary([stay, left_out * bool(planned.left_out)], to_pipe)
        return _told(planned.empty)
    loaded = reading.read(ticket_file(ticket))
    for option, unused in _unused(options, loaded.routing).items():
        print(f"mirl: {option} has no effect: {loaded.lineage.name} {unused}", file=sys.stderr)
    restorer = Restorer(loaded, threads=options.threads, memory=options.memory)
    restorer.refuse(options.task, options.work)  # once, and not for each photograph
    started = time.monotonic()
    failures = restore_all(restorer, jobs, options, alone=len(planned.restore) + len(planned.empty) == 1)
    seconds = time.monotonic() - started
    name = f"the ticket {loaded.lineage.name} ({loaded.densities.prunable:.1%} of the weights)"
    done = len(jobs) - len(failures)
    where = jobs[0].name if done == len(planned.restore) == 1 else f"{done} {of_all} to {out}"
    restored = f"restored {where} with {name} in {seconds:.1f} s"
    _summary([restored, stay * bool(there), left_out * bool(planned.left_out)], to_pipe)
    return _told([*planned.empty, *failures])


def _summary(sentences: Sequence[str], to_pipe: bool) -> None:
    for sentence in filter(None, sentences):
        print(printable(sentence), file=sys.stderr if to_pipe else sys.stdout)


def _unused(options: RestoreOptions, routing: Routing) -> dict[str, str]:
    """Return the options that say nothing to this routing, and why."""
    found = {}
    if options.task and not routing.told:
        found["--task"] = "does not ask for a task"
    if options.work is not None and not routing.has_works:
        found["--work"] = "has one amount of work"
    return found


def _is_there(job: Job) -> bool:
    """Return whether the target exists, so that the job counts as done.

    Raises UserError if the photograph would be written over itself.
    """
    try:
        if not (job.source.exists() and job.target.is_file()):
            return False
    except OSError:  # such as of a name that is too long: it fails alone, when it is its turn
        return False
    if job.source.samefile(job.target):
        raise UserError(
            f"{job.source} would be written over itself; name another folder, or --force to do that"
        )
    return True


def _told(failures: Sequence[str]) -> int:
    """Print each failure to standard error; return the exit code, 1 if there is any and 0 otherwise."""
    for sentence in failures:
        print(f"mirl: failed: {printable(sentence)}", file=sys.stderr)
    return 1 if failures else 0


def restore_all(restorer: Restorer, jobs: Sequence[Job], options: RestoreOptions, alone: bool) -> list[str]:
    """Run every job; return one sentence for each that failed.

    If the job is `alone`, that is, all that was asked for, its error is raised. Raises OSError if the disk is full,
    which stops all jobs.
    """
    failures = []
    with tqdm(total=len(jobs), disable=None, file=sys.stderr, bar_format=BAR, leave=False) as bar:
        for number, job in enumerate(jobs):
            bar.set_description_str(f"{number + 1} of {len(jobs)}")
            try:
                restore(restorer, job, options, bar.update)
            except (UserError, OSError) as error:
                if alone or _is_full(error):
                    raise
                failures.append(_sentence(error, job))
            bar.update(number + 1 - bar.n)  # also past one that failed
    return failures


def restore(restorer: Restorer, job: Job, options: RestoreOptions, advance: Advance) -> None:
    """Read, restore and write one photograph."""
    scale = restorer.scale_for(options.task, options.work)
    if job.source == PIPE:
        photograph = image_file.read_stream(sys.stdin.buffer, "standard input", options.memory, scale)
    else:
        photograph = image_file.read(job.source, options.memory, scale)
    if job.target != PIPE:
        image_file.check_target(job.target, options.force)
    photograph = photograph.with_pixels(restorer(photograph.rgb_HWC, advance, options.task, options.work))
    if job.target == PIPE:
        format = image_file.FORMATS[f".{options.format}"] if options.format else photograph.format
        sys.stdout.buffer.write(image_file.encode(photograph, format, "standard output"))
    else:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        image_file.write(photograph, job.target, options.force)


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _sentence(error: UserError | OSError, job: Job) -> str:
    if isinstance(error, UserError):
        return str(error)
    return f"{error.filename or job.source}: {(error.strerror or 'it cannot be used').lower()}"

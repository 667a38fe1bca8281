"""The `mirl` command: `restore`, `serve`, `inspect`, `pack`, `slim`, `grow`, `export`, `data check`, `report`, `sweep`,
`routing`, `study`, `cost`, `dry-run`, `stability`.

Heavy modules are imported by the subcommand that needs them, so that `mirl --help` answers at once.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mirl import __version__, terminal
from mirl.command import studies, tickets
from mirl.command.amounts import pixels, seconds, size, whole
from mirl.command.options import add_network, add_work
from mirl.errors import Stopped
from mirl.serve.hosts import Address
from mirl.serve.limits import Limits

STOPPED, BROKEN_PIPE = 130, 141
"""Exit codes that a shell gives for SIGINT and SIGPIPE."""
RESUMABLE = 75
"""Exit code of work that was interrupted and goes on when the same command is run again."""

RESTORE = """\
Restore photographs: PNG, JPEG, WebP and TIFF; 8 and 16 bits; grey or RGB, with or without alpha.
The ending of an output file chooses its format; colour profile, EXIF and alpha are kept where that can hold them.
"""
EXAMPLES = """\
examples:
  mirl restore photo.jpg -o restored.png            one photograph
  mirl restore holiday/ -o restored/                a folder, with its sub-folders
  mirl restore 'holiday/**/*.jpg' -o restored/      what a glob matches
  mirl restore - -o - < in.jpg > out.jpg            standard input and output
  mirl restore scan.tif -o out.tif --memory 4G      larger tiles, so faster

exit codes: 0 all restored, now or before; 1 some failed, or an input held none (they are listed, the others are there);
2 nothing could be done
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code: 0 done, 1 some photographs failed, 2 an error of the user.

    An interrupt gives 130, or 75 if the work can be resumed, a closed pipe 141.
    """
    terminal.guard()
    try:
        wanted = parser().parse_args(arguments)
        if getattr(wanted, "network", ""):
            _allow(wanted.network)
        code: int = wanted.run(wanted)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("mirl: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # The reader has gone; without this, Python complains when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError) as error:
        return terminal.fail(_sentence(error), "mirl: ")
    except Stopped as stopped:
        print(f"mirl: {terminal.printable(stopped)}", file=sys.stderr)
        return RESUMABLE
    return code


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line; `run` of the parsed arguments is the subcommand."""
    top = _Parser(prog="mirl", description="Restore photographs with winning lottery tickets.")
    top.add_argument("--version", action="version", version=f"mirl {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    _add_restore_command(commands)
    tickets.add_commands(commands)
    _add_serve_command(commands)
    studies.add_commands(commands)
    return top


def _add_restore_command(commands: Any) -> None:
    restore = commands.add_parser(
        "restore",
        help="restore photographs with a ticket",
        description=RESTORE,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    restore.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="photographs, folders, globs in quotes, or - for standard input",
    )
    restore.add_argument(
        "-o", "--out", required=True, help="a folder; or for one photograph a file, or - for standard output"
    )
    restore.add_argument(
        "--ticket",
        metavar="FILE",
        help="a ticket file or models:/NAME@ALIAS (default: the registry's champion)",
    )
    restore.add_argument(
        "--memory",
        type=size,
        metavar="SIZE",
        default="1G",
        help="how much to work in, like 512M, beside the ticket; what is larger is restored in tiles (default: 1G)",
    )
    restore.add_argument("--threads", type=whole, metavar="N", help="of the CPU (default: one for each core)")
    restore.add_argument(
        "--format",
        choices=["png", "jpeg", "webp", "tiff"],
        help="of what goes to standard output (default: that of the input)",
    )
    restore.add_argument(
        "--task", default="", metavar="TASK",
        help="what to undo, such as derain, for a ticket that has to be told (`mirl inspect` shows its routing)",
    )  # fmt: skip
    restore.add_argument(
        "--force",
        action="store_true",
        help="write over files that exist (else those in a folder stay, and a single one is refused)",
    )
    add_work(restore)
    add_network(restore)
    restore.set_defaults(run=_restore)


def _add_serve_command(commands: Any) -> None:
    serve = commands.add_parser("serve", help="restore photographs over HTTP, with a page for people")
    add = serve.add_argument
    add(
        "--ticket",
        metavar="FILE",
        help="a ticket file or models:/NAME@ALIAS (default: the registry's champion)",
    )
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 is all (default: %(default)s)")
    add("--port", type=int, default=8000, help="0 is a free one (default: %(default)s)")
    add("--allow-host", action="append", default=[], metavar="NAME",
        help="another name that it is asked for by, as behind a proxy; may be given again, and * is any")  # fmt: skip
    add("--threads", type=whole, metavar="N", help="of the CPU (default: one for each core)")
    add("--memory", type=size, metavar="SIZE", default="1G", help="how much to work in (default: 1G)")
    add("--queue", type=whole, metavar="N", default=Limits.queue,
        help="pictures that may wait (default: %(default)s)")  # fmt: skip
    add(
        "--max-bytes",
        type=size,
        metavar="SIZE",
        default=Limits.bytes,
        help="of a picture's file (default: 20M)",
    )
    add("--max-pixels", type=pixels, metavar="N", default=Limits.pixels, help="of a picture (default: 24M)")
    add("--timeout", type=seconds, metavar="SECONDS", default=Limits.seconds,
        help="for a picture to arrive, and for it to be restored (default: %(default)s)")  # fmt: skip
    add_network(serve)
    serve.set_defaults(run=_serve)


class _Parser(argparse.ArgumentParser):
    """Parser that reports an error in one sentence, like every other error of the command."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(terminal.fail(f"{message}; see `{self.prog} --help`", "mirl: "))


def _allow(network: str) -> None:
    from mirl.networks import allow

    allow(network, Path())


def _restore(wanted: argparse.Namespace) -> int:
    from mirl.command import address, restore

    ticket = wanted.ticket or address.CHAMPION
    options = restore.RestoreOptions(
        memory=wanted.memory,
        force=wanted.force,
        threads=wanted.threads,
        format=wanted.format,
        task=wanted.task,
        work=wanted.work,
    )
    return restore.run(wanted.inputs, wanted.out, ticket, options)


def _serve(wanted: argparse.Namespace) -> int:
    from mirl.command import address, serve

    limits = Limits(
        bytes=wanted.max_bytes, pixels=wanted.max_pixels, seconds=wanted.timeout, queue=wanted.queue
    )
    ticket = wanted.ticket or address.CHAMPION
    where = Address(host=wanted.host, port=wanted.port, names=tuple(wanted.allow_host))
    return serve.run(ticket, where, wanted.threads, wanted.memory, limits, wanted.network)


def _sentence(error: ValueError | OSError) -> str:
    """Return the sentence of an error that the user can correct; raise any other error again, with its traceback."""
    from mirl.config import UserError

    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, OSError) or error.errno is None:
        raise error
    place = error.filename or "what was being written"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({place}); free some space and run it again"
    return f"{place}: {(error.strerror or 'it cannot be used').lower()}"


if __name__ == "__main__":
    sys.exit(main())

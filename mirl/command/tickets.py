"""Subcommands about a ticket: `inspect`, `pack`, `slim`, `grow`, `export`."""

import argparse
from pathlib import Path
from typing import Any

from mirl.command.amounts import whole
from mirl.command.options import add_network, add_work

GROW = """\
Add a task to a ticket that is told its task, such as one by `method: png`, without the study that made it. It grows into
the weights that no task uses yet, and is pruned in blocks; what the ticket served before stays what it was, to the last bit.

Of params.yaml it reads `data` (your pictures), `train`, the arm, `machine`, and nothing of rounds. Interrupted work is kept
in .mirl/grow: the same command goes on.
"""
GROW_EXAMPLES = """\
examples:
  mirl grow shipped.safetensors --task jpeg -o grown.safetensors             by the settings in params.yaml
  mirl grow models:/mirl@champion --task rain --params mine.yaml -o grown.safetensors
  mirl restore photo.jpg --ticket grown.safetensors --task jpeg -o out.png
"""


def add_commands(commands: Any) -> None:
    """Add `inspect`, `pack`, `slim`, `grow` and `export` to the command line."""
    inspect = commands.add_parser("inspect", help="verify a ticket and show what it is")
    inspect.add_argument("ticket", metavar="TICKET", help="a ticket file or models:/NAME@ALIAS")
    inspect.add_argument("--json", action="store_true", help="for programs")
    add_network(inspect)
    inspect.set_defaults(run=_inspect)

    pack = commands.add_parser("pack", help="write a ticket with its weights in 16 or 8 bits")
    pack.add_argument("ticket", metavar="TICKET", help="a ticket file or models:/NAME@ALIAS")
    pack.add_argument("-o", "--out", required=True, type=Path, metavar="FILE")
    pack.add_argument(
        "--values",
        choices=["fp16", "bf16", "int8"],
        default="fp16",
        help="what the kept weights are rounded to (default: fp16, which loses the least)",
    )
    pack.add_argument("--force", action="store_true", help="write over a file that exists")
    add_network(pack)
    pack.set_defaults(run=_pack)

    slim = commands.add_parser("slim", help="cut out of a ticket what some of its tasks need")
    slim.add_argument("ticket", metavar="TICKET", help="a ticket file or models:/NAME@ALIAS")
    slim.add_argument("-o", "--out", required=True, type=Path, metavar="FILE")
    slim.add_argument(
        "--tasks",
        required=True,
        nargs="+",
        metavar="TASK",
        help="what it is to undo (`mirl inspect` shows its tasks)",
    )
    slim.add_argument("--force", action="store_true", help="write over a file that exists")
    add_network(slim)
    slim.set_defaults(run=_slim)

    _add_grow_command(commands)

    export = commands.add_parser("export", help="write a ticket's network for other runtimes")
    export.add_argument("ticket", metavar="TICKET", help="a ticket file or models:/NAME@ALIAS")
    export.add_argument(
        "-o",
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="the file to write; its ending, .onnx or .pt2, chooses the format",
    )
    export.add_argument("--force", action="store_true", help="write over a file that exists")
    export.add_argument(
        "--task", default="", metavar="TASK", help="whose sub-network is written, for a ticket that has to be told"
    )  # fmt: skip
    add_work(export)
    add_network(export)
    export.set_defaults(run=_export)


def _add_grow_command(commands: Any) -> None:
    grow = commands.add_parser(
        "grow",
        help="add a task to a ticket that is told its task; the others stay as they are",
        description=GROW,
        epilog=GROW_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    grow.add_argument("ticket", metavar="TICKET", help="a ticket file or models:/NAME@ALIAS")
    grow.add_argument("-o", "--out", required=True, type=Path, metavar="FILE")
    grow.add_argument(
        "--task", required=True, metavar="NAME", help="a task of params.yaml that it does not serve yet"
    )
    grow.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="default: params.yaml"
    )
    grow.add_argument("--arm", default="", metavar="NAME", help="of params.yaml, if several fit")
    grow.add_argument(
        "--prunings", type=whole, default=1, metavar="N",
        help="trainings that prune what has grown; more than one for an arm that goes on pruning (default: 1)",
    )  # fmt: skip
    grow.add_argument("--force", action="store_true", help="write over a file that exists")
    add_network(grow)
    grow.set_defaults(run=_grow)


def _inspect(wanted: argparse.Namespace) -> int:
    from mirl.command import inspect

    return inspect.run(wanted.ticket, wanted.json)


def _pack(wanted: argparse.Namespace) -> int:
    from mirl.command import pack

    return pack.run(wanted.ticket, wanted.out, wanted.values, wanted.force)


def _slim(wanted: argparse.Namespace) -> int:
    from mirl.command import slim

    return slim.run(wanted.ticket, wanted.out, wanted.tasks, wanted.force)


def _grow(wanted: argparse.Namespace) -> int:
    from mirl.command import grow
    from mirl.study.growth import Growth

    growth = Growth(task=wanted.task, arm=wanted.arm, prunings=wanted.prunings)
    return grow.run(wanted.ticket, wanted.out, wanted.params, growth, wanted.force)


def _export(wanted: argparse.Namespace) -> int:
    from mirl.command import export
    from mirl.restore.routers import Request

    request = Request(task=wanted.task, work=wanted.work)
    return export.run(wanted.ticket, wanted.out, wanted.force, request)

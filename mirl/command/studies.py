"""Subcommands about a study: `data check`, `cost`, `dry-run`, `report`, `sweep`, `routing`, `study`, `stability`."""

import argparse
from pathlib import Path
from typing import Any

from mirl.command.amounts import positive, several, share, whole

SWEEP_EXAMPLES = """\
examples:
  mirl sweep tickets/global-r2/ticket.safetensors                      every severity of every task
  mirl sweep tickets/{dense,global-r2}/ticket.safetensors              a curve each, dense and sparse
  mirl sweep models:/mirl@champion --task denoise_25 --points 20       one task, more finely
  mirl sweep small.safetensors --severity quality --limit 5 -o quality one severity, five photographs

The clean test photographs of the prepared data are damaged at each strength, seeded by their names, and scored by the
first protocol of params.yaml. Among the strengths are those that the study trains with, where they are known.
"""


ROUTING_EXAMPLES = """\
examples:
  mirl routing tickets/routed-r2/ticket.safetensors                            a few shares of the work
  mirl routing tickets/routed-r2/ticket.safetensors --work 0.3 0.45 0.6 0.8    those shares of it
  mirl routing tickets/{routed-r2,dense,static-r1}/ticket.safetensors          beside other tickets of the network

The held-out images of the prepared data are restored by each sub-network alone, by the router, and with levels of patches
that chance, the gradient or the known errors hand out for the same work; scored by the first protocol of params.yaml.
"""


def add_commands(commands: Any) -> None:
    """Add `data check`, `cost`, `dry-run`, `report`, `sweep`, `routing`, `study` and `stability` to the command line."""
    data = commands.add_parser("data", help="look at the data of a study")
    check = data.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "check", help="find broken and unequal images, and pictures that are in both train and test"
    )
    _add_params(check)
    check.set_defaults(run=_data_check)

    cost = commands.add_parser(
        "cost", help="what a study will take: steps, FLOPs and hours, before it starts"
    )
    _add_params(cost)
    speed = cost.add_mutually_exclusive_group()
    speed.add_argument("--measure", action="store_true", help="hours by timing a few steps on this machine")
    speed.add_argument(
        "--device-tflops", type=positive, metavar="X", help="hours on a device of this peak, in 1e12 FLOP/s"
    )
    cost.add_argument(
        "--share", type=share, metavar="S", help="of that peak that training reaches, like 0.35"
    )
    cost.set_defaults(run=_cost)

    dry_run = commands.add_parser(
        "dry-run", help="the cost by timing a few steps, then one step of every stage at full size"
    )
    _add_params(dry_run)
    dry_run.set_defaults(run=_dry_run)

    report = commands.add_parser("report", help="the comparison of the study's tickets, and the decision")
    report.add_argument(
        "--markdown",
        action="store_true",
        help="print every task's numbers and findings, for a page or a pull request",
    )
    report.set_defaults(run=_report)

    _add_sweep_command(commands)
    _add_routing_command(commands)

    study = commands.add_parser("study", help="make a ready-made study the current one")
    study.add_argument("name", nargs="?", metavar="NAME", help="left out: list them")
    study.add_argument("--force", action="store_true", help="write over a params.yaml that was edited")
    study.set_defaults(run=_study)

    stability = commands.add_parser(
        "stability",
        help="find the step that tickets can be rewound to, by the stability test",
        description="Train two copies of the study's dense network from each step on different samples, and look whether "
        "the loss on the line between them stays low (arXiv 1912.05671).",
    )
    stability.add_argument(
        "steps", nargs="*", type=int, metavar="STEP",
        help="steps to try (default: 0, 1, 2, 5 and 10 %% of the schedule)",
    )  # fmt: skip
    _add_params(stability)
    stability.set_defaults(run=_stability)


def _add_sweep_command(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="a ticket's quality against how strong the damage is, as curves",
        description="Find out where tickets break: their quality at each strength of each damage.",
        epilog=SWEEP_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument(
        "tickets", nargs="+", metavar="TICKET",
        help="ticket files or models:/NAME@ALIAS; a curve each",
    )  # fmt: skip
    _add_params(sweep)
    add = sweep.add_argument
    add("--task", action="append", default=[], metavar="NAME",
        help="a task; may be given again (default: all whose damage can be made)")  # fmt: skip
    add(
        "--severity",
        default="",
        metavar="NAME",
        help="one of what a task's strength is set by (default: each)",
    )
    add("--points", type=several, default=7, metavar="N",
        help="strengths from one end of the range to the other (default: %(default)s)")  # fmt: skip
    add("--limit", type=whole, metavar="N", help="photographs (default: `evaluate.limit` of params.yaml)")
    add("-o", "--out", type=Path, default=Path("report/sweep"), metavar="FOLDER",
        help="for sweep.html, sweep.csv and sweep.parquet (default: %(default)s)")  # fmt: skip
    sweep.set_defaults(run=_sweep)


def _add_routing_command(commands: Any) -> None:
    routing = commands.add_parser(
        "routing",
        help="quality of a ticket that routes by difficulty against work and time, beside all bounds",
        description="Find out what a router of patches is worth: its quality at each share of the work, beside its bounds.",
        epilog=ROUTING_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    routing.add_argument(
        "tickets", nargs="+", metavar="TICKET",
        help="ticket files or models:/NAME@ALIAS; at least one that routes by difficulty, the others are points",
    )  # fmt: skip
    _add_params(routing)
    add = routing.add_argument
    add("--work", type=share, nargs="+", default=[], metavar="SHARE",
        help="of the largest sub-network's work that the router is asked for (default: a few up to all)")  # fmt: skip
    add("--limit", type=whole, metavar="N", help="images per task (default: `evaluate.limit` of params.yaml)")
    add("-o", "--out", type=Path, default=Path("report/routing"), metavar="FOLDER",
        help="for routing.html, routing.csv and routing.parquet (default: %(default)s)")  # fmt: skip
    routing.set_defaults(run=_routing)


def _add_params(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="default: params.yaml"
    )


def _data_check(wanted: argparse.Namespace) -> int:
    from mirl.command import data

    return data.run(wanted.params)


def _cost(wanted: argparse.Namespace) -> int:
    from mirl.command import cost

    speed = cost.Speed.stated(wanted.device_tflops, wanted.share)
    return cost.run(wanted.params, speed, wanted.measure)


def _dry_run(wanted: argparse.Namespace) -> int:
    from mirl.command import dry_run

    return dry_run.run(wanted.params)


def _report(wanted: argparse.Namespace) -> int:
    from mirl.command import report

    return report.run(Path(), wanted.markdown)


def _sweep(wanted: argparse.Namespace) -> int:
    from mirl.command import sweep
    from mirl.study.sweep import SweepOptions

    options = SweepOptions(
        tasks=wanted.task, severity=wanted.severity, points=wanted.points, limit=wanted.limit
    )
    return sweep.run(wanted.params, wanted.tickets, options, wanted.out)


def _routing(wanted: argparse.Namespace) -> int:
    from mirl.command import routing
    from mirl.study.routing import RoutingOptions

    options = RoutingOptions(works=wanted.work, limit=wanted.limit)
    return routing.run(wanted.params, wanted.tickets, options, wanted.out)


def _study(wanted: argparse.Namespace) -> int:
    from mirl.command import study

    return study.run(Path(), wanted.name, wanted.force)


def _stability(wanted: argparse.Namespace) -> int:
    from mirl.command import stability

    return stability.run(wanted.params, wanted.steps)

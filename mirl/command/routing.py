"""`mirl routing`: quality of tickets that route by difficulty against work and time, beside all bounds."""

from collections.abc import Sequence
from pathlib import Path

from mirl.command.address import ticket_file
from mirl.command.sweep import by_name, refuse_no_folder
from mirl.evaluation.routing import MEAN, summary
from mirl.evaluation.routing_page import page
from mirl.study.params import read_params
from mirl.study.routing import RoutingOptions, measure_routing
from mirl.study.study import Study
from mirl.study.tables import write
from mirl.tickets import reading

FORMATS = {
    "budget": "{:.3g}".format,
    "work": "{:.3f}".format,
    "seconds": "{:.3f}".format,
    "time": "{:.2f}".format,
}
"""How columns of the printed table are written; all others but names are PSNR in dB."""


def run(params_file: Path, tickets: Sequence[str], options: RoutingOptions, out: Path) -> int:
    """Measure the tickets, print the table and write it and its page to `out`; return exit code 0.

    Raises UserError if there is nothing to measure, or `out` cannot be a folder.
    """
    refuse_no_folder(out)
    params = read_params(params_file)
    named = by_name([reading.read(ticket_file(address)) for address in tickets])
    routed = measure_routing(Study(root=Path(), params=params), named, options)
    written = write(
        out, "routing", routed.frame, page(routed.frame, routed.pictures, routed.levels, params.study)
    )
    table = summary(routed.frame)
    print(table.to_string(index=False, formatters=FORMATS, float_format="{:.2f}".format))
    print(
        f"\nPSNR in dB, {MEAN} that of the tasks' means; budget: of the largest sub-network's work; work: of the dense "
        "network's; time: of the largest sub-network's alone"
    )
    print(f"\nthe charts: {written}")
    return 0

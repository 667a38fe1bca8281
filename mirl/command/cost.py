"""`mirl cost`: forecast of the steps, FLOPs and hours that the study of a params.yaml will take."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mirl.config import UserError
from mirl.study.forecast import Forecast, forecast, together
from mirl.study.params import Params, read_params


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Training speed of a device, and the source of that figure."""

    flops_per_second: float | None = None
    """Sustained FLOP/s on the dense network; None if not known."""
    source: str = ""

    @classmethod
    def stated(cls, device_tflops: float | None, share: float | None) -> "Speed":
        """Make the speed of a device from its peak in TFLOP/s and the share of that peak that training reaches.

        Raises UserError if only one of the two is given.
        """
        if device_tflops is None and share is None:
            return cls()
        if device_tflops is None or share is None:
            raise UserError(
                "hours need both: --device-tflops (the device's peak) and --share (how much of it training reaches)"
            )
        source = f"on a device that reaches {share:.0%} of {device_tflops:g} TFLOP/s"
        return cls(flops_per_second=share * device_tflops * 1e12, source=source)

    def hours(self, item: Forecast) -> float | None:
        """Return the hours of training alone; None if no speed is known."""
        return item.flops.dense / self.flops_per_second / 3600 if self.flops_per_second else None


def run(params: Path, speed: Speed, measure: bool) -> int:
    """Print the forecast; return exit code 0. Raises UserError if the study's settings are wrong."""
    wanted = read_params(params)
    rounds = forecast(wanted)
    if measure:
        speed = measured(wanted, rounds, Path())
    print(text(wanted, rounds, speed))
    return 0


def measured(params: Params, rounds: Sequence[Forecast], root: Path) -> Speed:
    """Measure the training speed of this machine; a step through several sub-networks takes as long as its FLOPs say."""
    from mirl.study.dry_run import MEASURE_SECONDS, step_seconds
    from mirl.training.device import device_of
    from mirl.training.energy import name_of

    print(
        f"timing the first steps of the dense training, for {MEASURE_SECONDS:.0f} s or some slow steps more; "
        "the bar beneath does not know that it ends there",
        file=sys.stderr,
    )
    seconds = step_seconds(params, root)
    device, dense = name_of(device_of(params.machine), params.machine.threads), _dense(params, rounds)
    return Speed(
        flops_per_second=(dense.flops.dense or 1) / max(dense.steps, 1) / seconds,  # no steps take no time
        source=f"at {seconds:.3g} s a step, measured here on the dense network in one process on {device}",
    )


def text(params: Params, rounds: Sequence[Forecast], speed: Speed) -> str:
    """Format the forecast: one line for each round, the total, and notes on the figures."""
    batches, whole, dense = params.train.batches, together(rounds), _dense(params, rounds)
    head = ["round", "density", "steps", "samples", "FLOPs dense", "FLOPs kept"]
    head += ["hours"] if speed.source else []
    lines = [head, *(_cells(item, speed, f"{item.density:.2%}") for item in rounds), _cells(whole, speed, "")]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    table = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    ]
    times = f", {whole.steps / dense.steps:.3g} times the dense training" if dense.steps else ""
    notes = [
        f"study {params.study}: {len(rounds)} trainings of {params.network.name} in batches of {batches.batch}"
        f" patches of {batches.patch} x {batches.patch}{times}",
        "density: of the prunable weights\n"
        "FLOPs: three forward passes a sample, two operations a multiply-accumulate; kept: if zeros cost nothing and every"
        " layer kept the same share\n(tickets by LAMP scores keep more of the work; training multiplies zeros, too)",
    ]
    if any(item.at_most for item in rounds):
        notes.append(
            "<= a round that may end sooner, when its ranking has settled, or has nothing to do, when the one before it\n"
            "lost more than its goal allows: then more is kept than foretold"
        )
    notes.extend(
        f"{item.name} is the last round of its arm and ends above the arm's target, at {item.density:.2%}: it is trained "
        "only until its weights can be ranked; name the round after it, or a higher target"
        for item in rounds
        if item.ranks_only
    )
    if speed.source:
        notes.append(f"hours: of training alone, {speed.source}; preparing the data and scoring come on top")
    return "\n".join([notes[0], "", *table, "", *notes[1:]])


def _cells(item: Forecast, speed: Speed, density: str) -> list[str]:
    bound, hours = "<= " if item.at_most else "", speed.hours(item)
    cells = [item.name, density, f"{bound}{item.steps:,}", f"{item.samples:,}"]
    cells += [f"{item.flops.dense:.2e}", f"{item.flops.kept:.2e}"]
    if hours is None:
        return cells
    return [*cells, "< 0.001" if 0 < hours < 0.001 else f"{hours:,.3g}" if hours < 1000 else f"{hours:,.0f}"]


def _dense(params: Params, rounds: Sequence[Forecast]) -> Forecast:
    return next(item for item in rounds if item.name == params.promote.references[0])

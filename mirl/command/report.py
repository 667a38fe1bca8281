"""`mirl report`: prints the comparison as a table, the decision, and the path of the full report."""

from pathlib import Path

import pandas as pd

from mirl.config import UserError
from mirl.study.workspace import Workspace, read_decision
from mirl.terminal import printable

COLUMNS = {
    "name": "ticket",
    "density/prunable": "density",
    "density/all": "of all",
    "work/share": "work",
    "psnr_db/mean": "PSNR dB",
    "ssim/mean": "SSIM",
    "difference_db": "to dense",
    "ticket_mb": "MB",
    "of_singles/mb": "of singles",
    "weight_steps": "weight steps",
    "search/dense_trainings": "search",
    "verdict": "verdict",
    "beats_controls": "beats controls",
}
FORMATS = {
    "density": "{:.1%}".format,
    "of all": "{:.1%}".format,
    "work": "{:.1%}".format,
    "PSNR dB": "{:.2f}".format,
    "SSIM": "{:.4f}".format,
    "to dense": "{:+.2f}".format,
    "MB": "{:.2f}".format,
    "of singles": "{:.1%}".format,
    "weight steps": "{:,.0f}".format,
    "search": "{:.3g}x".format,
}


def run(root: Path, as_markdown: bool) -> int:
    """Print the report; return exit code 0. Raises UserError if nothing has been compared yet."""
    report = Workspace(root).report
    path = report / "comparison.parquet"
    if not path.exists():
        raise UserError(f"{path} does not exist; `dvc repro` makes it")
    whole = pd.read_parquet(path)
    if as_markdown:
        print(markdown(whole))
        return 0
    known = [name for name in COLUMNS if name in whole]  # an older mirl's report says less
    table = whole[known].rename(columns=COLUMNS)
    decision = read_decision(report)
    print(table.to_string(index=False, formatters=FORMATS, na_rep=""))
    print(f"\n{printable(decision.reasons[0])}")
    for row in whole.to_dict("records"):
        if row.get("verdict") == "partial":
            print(printable(f"{row['name']} {row['reason']}"))
    if "of_singles/mb" in whole:
        print("of singles: size of the file, of those of a model for each of its requirements together")
    if "weight_steps" in whole:
        print(
            "weight steps: what its weights have gone through; what was trained for longer may be better for that alone"
        )
    if "search/dense_trainings" in whole:
        print(
            "search: steps of all trainings up to that ticket, in dense trainings; FLOPs, seconds, joules in the report"
        )
    print(f"\nthe report with its pictures: {report / 'index.html'}")
    for page, words in (
        (Workspace(root).sweep / "sweep.html", "quality against how strong the damage is"),
        (Workspace(root).routing / "routing.html", "quality against work and time, routed by difficulty"),
    ):
        if page.exists():
            print(f"{words}: {page}")
    return 0


def markdown(whole: pd.DataFrame) -> str:
    """Format the comparison as a Markdown table with each task's PSNR in dB; the first row is the degraded input."""
    tasks = [name.removeprefix("psnr_db/") for name in map(str, whole) if name.startswith("psnr_db/")]
    head = [
        "ticket",
        "density",
        *tasks,
        "SSIM",
        "to dense (interval)",
        "verdict",
        "beats controls",
        "findings",
    ]
    inputs = [_number(whole[f"input_psnr_db/{task}"].dropna().iloc[0]) for task in tasks]
    rows = [["*input*", "", *inputs, "", "", "", "", ""]]
    for row in whole.to_dict("records"):
        apart = "{:+.2f} ({:+.2f} .. {:+.2f})".format(
            *(row[name] for name in ("difference_db", "difference_low_db", "difference_high_db"))
        )
        rows.append(
            [row["name"], f"{row['density/prunable']:.2%}"]
            + [_number(row[f"psnr_db/{task}"]) for task in tasks]
            + [f"{row['ssim/mean']:.4f}", "" if row["verdict"] == "reference" else apart]
            + [row["verdict"], row["beats_controls"], _first(row["collapse"])]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def _number(value: float) -> str:
    """Format a PSNR in dB; empty (NaN) for a task that the ticket does not serve."""
    return "" if pd.isna(value) else f"{value:.2f}"


def _first(findings: str) -> str:
    first, *more = findings.replace("_", "\\_").split("; ")
    return f"{first}, and {len(more)} more" if more else first

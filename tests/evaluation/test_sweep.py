"""What a sweep measures, on toy restorers whose curves are known."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.data.tasks import DEFAULT, KINDS, Severity, Table, Task
from mirl.data.tasks import table as table_of
from mirl.evaluation.scoring import EvaluateSection, Restore
from mirl.evaluation.sweep import COLUMNS, Curve, Photograph, SweptTicket, chosen, curves, sweep
from mirl.evaluation.sweep_page import page

GREY = np.full((48, 48, 3), 128, np.uint8)
STRICT = EvaluateSection(protocols=["strict", "paper"])


def tasks(**sections: dict[str, object]) -> Table:
    return table_of(
        {name: KINDS[str(section["kind"])].read(section, "p") for name, section in sections.items()}
    )


def gradient(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def ticket(restore: Restore = lambda image, task: image, name: str = "t", only: str = "") -> SweptTicket:
    return SweptTicket(name=name, sha256="a" * 64, restore=restore, serves=lambda task: only in ("", task))


def swept(tickets: list[SweptTicket], table: Table, points: int = 3, **options: object) -> pd.DataFrame:
    section = STRICT.model_copy(update=options)
    pictures = [Photograph(image=f"p{seed}", clean_HWC=gradient(seed)) for seed in (2, 0, 1)]
    grid = [(task, severity, severity.values(points)) for task, severity in chosen(table)]
    return sweep(tickets, grid, lambda task: pictures, section)


def test_who_does_nothing_gains_nothing_at_any_severity() -> None:
    table = {**DEFAULT, **tasks(coded={"kind": "jpeg"}, shared={"kind": "social"})}
    frame = swept([ticket()], table)
    assert list(frame.columns) == COLUMNS
    assert (frame["psnr_db"] == frame["input_psnr_db"]).all() and (frame["change"] == 0).all()
    assert set(frame["protocol"]) == {"strict"}
    found = curves(frame)
    assert list(found) == [(task.name, severity.name) for task, severity in chosen(table)]
    for (curve,) in found.values():
        assert curve.gains_db == [0] * len(curve.values)
        assert curve.in_words().startswith("gains less than 0.1 dB everywhere; most +0.00 dB")


def test_the_input_gets_worse_with_severity_and_noise_is_as_strong_as_it_says() -> None:
    grid = [(DEFAULT["denoise_25"], DEFAULT["denoise_25"].severities[0], [10.0, 20.0, 40.0])]
    frame = sweep([ticket()], grid, lambda task: [Photograph(image="grey", clean_HWC=GREY)], STRICT)
    expected = [-20 * np.log10(sigma / 255) for sigma in (10, 20, 40)]
    assert frame["input_psnr_db"].tolist() == pytest.approx(expected, abs=0.4)
    assert frame["value"].tolist() == [10, 20, 40]


def test_a_denoiser_that_is_right_at_one_sigma_gains_most_there() -> None:
    """It takes the noise of sigma 20 away from a grey picture, less of other noise, and nothing from sigma 40 on."""

    def restore(image: Tensor, task: str) -> Tensor:
        noise = image - 128 / 255
        return 128 / 255 + noise * min(1.0, abs(float(noise.std()) * 255 - 20) / 20)

    severity = DEFAULT["denoise_25"].severities[0]
    grid = [(DEFAULT["denoise_25"], severity, severity.values(20))]
    frame = sweep([ticket(restore)], grid, lambda task: [Photograph(image="grey", clean_HWC=GREY)], STRICT)
    (curve,) = curves(frame)["denoise_25", "sigma_255"]
    best = curve.values[int(np.argmax(curve.gains_db))]
    assert best == 20
    assert curve.useless == [value > 40 for value in curve.values]
    assert re.match(r"gains less than 0\.1 dB from 45 to 100; least ", curve.in_words())


def test_a_point_of_what_is_trained_is_in_the_grid() -> None:
    table = tasks(grain={"kind": "denoise", "sigma": 12.345}, coded={"kind": "jpeg", "quality": [30, 33]})
    assert table["grain"].severities[0].values(2) == [5, 12.345, 100]
    assert table["coded"].severities[0].values(3) == [5, 30, 33, 50, 95]
    severity = Severity(name="s", unit="u", low=0, high=1, at=lambda value: Task(name="t"))
    assert severity.values(4) == [0, 0.3333, 0.6667, 1]


def test_the_same_sweep_gives_the_same_bytes_in_any_order_of_photographs() -> None:
    one, other = (swept([ticket()], DEFAULT, limit=None).to_csv() for _ in range(2))
    assert one == other
    limited = swept([ticket()], DEFAULT, limit=1)
    assert len(limited) == sum(len(severity.values(3)) for _, severity in chosen(DEFAULT))


def test_each_ticket_has_a_curve_on_the_tasks_that_it_serves_and_progress_counts_them() -> None:
    seen: list[tuple[int, int]] = []
    table = {name: DEFAULT[name] for name in ("denoise_15", "derain")}
    grid = [(task, severity, severity.values(2)) for task, severity in chosen(table)]
    photographs = [Photograph(image=f"p{seed}", clean_HWC=gradient(seed)) for seed in range(2)]
    told = lambda done, total: seen.append((done, total))  # noqa: E731
    frame = sweep(
        [ticket(name="all"), ticket(name="rain", only="derain")], grid, lambda task: photographs, STRICT, told
    )
    values = {task.name: len(own) for task, _, own in grid}
    total = 2 * values["denoise_15"] + 4 * values["derain"]
    assert seen == [(number, total) for number in range(1, total + 1)] and len(frame) == total
    assert [curve.ticket for curve in curves(frame)["denoise_15", "sigma_255"]] == ["all"]
    assert [curve.ticket for curve in curves(frame)["derain", "rain"]] == ["all", "rain"]
    with pytest.raises(UserError, match="the ticket haze serves none of denoise_15, derain"):
        sweep([ticket(name="haze", only="dehaze")], grid, lambda task: photographs, STRICT)


def test_a_ticket_is_told_its_task() -> None:
    told: list[str] = []
    swept(
        [ticket(lambda image, task: (told.append(task), image)[1])], {"derain": DEFAULT["derain"]}, points=2
    )
    assert set(told) == {"derain"}


def test_what_is_swept_can_be_chosen() -> None:
    table = {**DEFAULT, **tasks(sea={"kind": "pairs"})}
    names = [(task.name, severity.name) for task, severity in chosen(table, ["dehaze", "derain"])]
    assert names == [("dehaze", "optical_depth"), ("dehaze", "airlight"), ("derain", "rain")]
    assert [task.name for task, _ in chosen(table, severity="rain")] == ["derain"]
    for arguments, words in (
        ((["rain"],), "there is no task 'rain' in the prepared data; it has denoise_15, "),
        ((["sea"],), "sea has no severity, as its pictures cannot be made; those that have one: denoise_15"),
        (((), "fog"), "there is no severity 'fog'; known are sigma_255, rain, optical_depth, airlight"),
    ):
        with pytest.raises(UserError, match=words):
            chosen(table, *arguments)
    with pytest.raises(UserError, match="none of the tasks"):
        chosen(tasks(sea={"kind": "pairs"}))


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([1, 2, 0.2], "gains at least 0.1 dB everywhere; least +0.20 dB at 3"),
        ([0.05, 2, 3], "gains less than 0.1 dB at 1; least +0.05 dB at 1"),
        ([1, 0, -2], "gains less than 0.1 dB from 2 to 3; least -2.00 dB at 3"),
        ([0, 1, -1], "gains less than 0.1 dB at 1 and at 3; least -1.00 dB at 3"),
        ([0, 0.02, -1], "gains less than 0.1 dB everywhere; most +0.02 dB at 2"),
    ],
)
def test_where_it_breaks_in_words(gains: list[float], words: str) -> None:
    curve = Curve(ticket="t", values=[1, 2, 3], psnr_db=gains, input_psnr_db=[0, 0, 0])
    assert curve.in_words() == words


def test_the_page_shows_and_says_where_it_breaks() -> None:
    table = {"derain": DEFAULT["derain"], **tasks(coded={"kind": "jpeg", "quality": [10, 60]})}
    blur = lambda image, task: torch.nn.functional.avg_pool2d(image, 3, 1, 1)  # noqa: E731
    frame = swept([ticket(name="<dense>"), ticket(blur, name="sparse")], table)
    text = page(frame, chosen(table), "tiny")
    assert text == page(frame, chosen(table), "tiny")
    assert text.count("<svg role=") == 2 and "<dense>" not in text and "&lt;dense&gt;" in text
    assert "The study trains it with 10 to 60." in text and "The study trains it with 1." in text
    assert "gains less than 0.1 dB everywhere" in text and "strict" in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "light-dark(" in text and "var(--arm-1)" in text
    for line in (row for row in text.splitlines() if "<td" in row):
        assert line.count("<td") == 4  # value, input, two tickets

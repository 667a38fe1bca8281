"""On the tiny study: what the test measures, not whether such a network is stable."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mirl.command.main import main
from mirl.config import Stopped, UserError
from mirl.data.batches import Batch
from mirl.study.stability import POINTS, Stability, line, stabilities
from mirl.study.stages import STAGES
from mirl.study.study import Study

ZEROS_BCHW = torch.zeros(2, 3, 4, 4)
GREYS = Batch(degraded_BCHW=ZEROS_BCHW, clean_BCHW=ZEROS_BCHW + 1, tasks=[], images=[])


def test_the_loss_is_taken_along_the_straight_line() -> None:
    network = nn.Conv2d(3, 3, 1)
    weight = torch.zeros_like(network.weight)
    first, second = ({"weight": weight, "bias": torch.full((3,), end)} for end in (0.0, 3.0))
    losses = line(network, first, second, [GREYS, GREYS], lambda: False)
    assert losses == pytest.approx([abs(1 - 3 * place / (POINTS - 1)) for place in range(POINTS)], abs=1e-6)
    with pytest.raises(Stopped, match="run it again to go on"):
        line(network, first, second, [GREYS], lambda: True)


def test_instability_is_the_rise_over_the_mean_of_both_ends() -> None:
    assert Stability(step=0, losses=[1.0, 2.0, 3.0]).instability == pytest.approx(0.5)
    assert Stability(step=0, losses=[3.0, 1.0, 3.0]).instability == 0


def test_copies_that_part_later_end_nearer_to_each_other(study: Study) -> None:
    STAGES["prepare"](study, "")
    early, late = list(stabilities(study, [0, 5]))
    assert (early.step, late.step) == (0, 5) and len(early.losses) == POINTS
    assert early.losses[0] != early.losses[-1]
    assert abs(late.losses[0] - late.losses[-1]) < abs(early.losses[0] - early.losses[-1])
    assert not list((study.root / ".mirl" / "resume").iterdir())


def test_killed_it_goes_on_to_the_same_numbers(study: Study) -> None:
    STAGES["prepare"](study, "")
    calm = list(stabilities(study, [3]))
    asked: list[int] = []
    with pytest.raises(Stopped, match="copy 2 from step 3"):
        list(stabilities(replace(study, should_stop=lambda: asked.append(0) or len(asked) == 7), [3]))
    assert list(stabilities(study, [3])) == calm


def test_a_step_outside_of_the_schedule_is_refused(study: Study) -> None:
    with pytest.raises(UserError, match="step 6 is outside of the schedule; expected 0 to 5"):
        list(stabilities(study, [0, 6]))


def test_the_command_names_the_first_stable_step(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    STAGES["prepare"](study, "")
    monkeypatch.chdir(study.root)
    assert main(["stability", "5", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("two trainings of 6 steps for each of step 2, 5\n")
    assert "stable" in out.splitlines()[-1]
    assert main(["stability", "99"]) == 2
    (study.root / "params.yaml").rename(study.root / "own.yaml")
    assert main(["stability", "5", "--params", "own.yaml"]) == 0


def test_without_prepared_data_the_way_to_it_is_named(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(study.root))
    assert main(["stability", "0"]) == 2
    assert "dvc repro prepare" in capsys.readouterr().err

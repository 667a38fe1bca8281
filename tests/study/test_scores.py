"""Work of a ticket that is told its task: of each task, and their mean."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mirl.data.tasks import DEFAULT_SECTIONS, table
from mirl.evaluation.scoring import EvaluateSection, TestImage, silent
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.study.scores import scored
from mirl.tickets.routing import ByTask
from mirl.tickets.ticket import Ticket
from tests.study.conftest import photograph


def test_the_work_of_each_told_task_and_its_mean(make_ticket: Callable[..., Ticket]) -> None:
    blind = make_ticket()
    light = Mask(
        {
            name: keep & (torch.arange(len(keep)) < 1).view(-1, *[1] * (keep.ndim - 1))
            for name, keep in blind.mask.items()
        }
    )
    tasks = {"denoise_15": "light", "denoise_25": "all", "denoise_50": "all"}
    several = replace(
        blind, masks=Masks({"light": light, "all": blind.mask}), routing=ByTask(kind="task", tasks=tasks)
    )
    single = replace(
        blind, masks=Masks({"all": blind.mask}), routing=ByTask(kind="task", tasks={"denoise_15": "all"})
    )
    image = TestImage(
        image="a", task=table(DEFAULT_SECTIONS)["denoise_15"], clean_HWC=photograph(1), degraded_HWC=None
    )
    found = {}
    for name, ticket in (("blind", blind), ("several", several), ("single", single)):
        found[name] = scored(
            Restorer(ticket, threads=1), ticket, [image], EvaluateSection(pictures=0), silent
        )[1]
    told, whole = found["several"], found["blind"]["macs_g"]
    assert told["macs_g/denoise_25"] == told["macs_g/denoise_50"] == whole > 2 * told["macs_g/denoise_15"] > 0
    assert told["work/share"] == pytest.approx((told["macs_g/denoise_15"] + 2 * whole) / 3 / whole)
    assert found["single"]["macs_g/denoise_15"] == whole and "work/share" not in found["single"]
    assert not [key for key in found["blind"] if key.startswith(("macs_g/", "work/"))]

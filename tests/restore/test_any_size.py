from typing import Any

import pytest
import torch

from mirl.restore.any_size import AnySize
from mirl.restore.restorer import Restorer


@pytest.mark.parametrize("height", [1, 8, 13])
@pytest.mark.parametrize("width", [3, 16])
def test_it_does_what_the_restorer_does_and_clamps(height: int, width: int, make_ticket: Any) -> None:
    restorer = Restorer(make_ticket(), skip_zeros=False)
    image_BCHW = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    got_BCHW = AnySize(restorer.network)(image_BCHW)
    wanted_BCHW = restorer.run(image_BCHW)
    assert wanted_BCHW.min() < 0 or wanted_BCHW.max() > 1 or height == 1
    assert torch.allclose(got_BCHW, wanted_BCHW.clamp(0, 1), atol=1e-6)

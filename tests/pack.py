"""The pack of benchmark pictures beside the repository, which is for research only and no part of it."""

from pathlib import Path

import pytest

PACK = Path(__file__).parents[2] / "shared/data"
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason="the benchmark pack is not at ../shared/data")
SETS = ("Set5", "Set14", "B100")
"""Its super-resolution sets: SR/SET/HR/NAME.png, and SR/SET/LR_bicubic/X4/NAMEx4.png as MATLAB reduced it."""

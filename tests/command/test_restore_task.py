"""`mirl restore --task`: needed where the routing of the ticket asks for a task, and of no effect elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirl.command.main import main
from mirl.sparsity.masks import ONE
from mirl.tickets import writing
from mirl.tickets.routing import ByTask, Static

BY_TASK = ByTask(kind="task", tasks={"derain": ONE})
TOLD_NOTHING = "has to be told what to undo; name a task: derain\n"


@pytest.mark.parametrize(
    ("routing", "more", "said"),
    [
        (Static(), [], ""),
        (Static(), ["--task", "derain"], "mirl: --task has no effect: tiny does not ask for a task\n"),
        (BY_TASK, ["--task", "derain"], ""),
        (BY_TASK, [], TOLD_NOTHING),
    ],
)
def test_a_task_counts_where_the_routing_asks_for_it(
    routing: Any, more: list[str], said: str, does_nothing: Any, tmp_path: Path, capsys: Any
) -> None:
    photo, ticket, out = (tmp_path / name for name in ("photo.png", "t.safetensors", "out.png"))
    Image.fromarray(np.full((5, 6, 3), 40, np.uint8)).save(photo)
    writing.write(replace(does_nothing(), routing=routing), ticket)
    code = main(["restore", str(photo), "-o", str(out), "--ticket", str(ticket), *more])
    found = capsys.readouterr().err
    assert found.endswith(said) and bool(found) == bool(said)
    assert (code, out.exists()) == ((2, False) if said == TOLD_NOTHING else (0, True))

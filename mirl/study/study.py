"""Study: its parameters, its folder, and the sink to which its stages report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mirl.config import Stopped
from mirl.records import NullSink, Sink
from mirl.study.params import Params
from mirl.study.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Study:
    """Argument of every stage: the study's folder and parameters, its sink and its stop request."""

    root: Path
    params: Params
    open_sink: Callable[[str, str, str], Sink] = lambda fingerprint, name, study: NullSink()
    """(fingerprint, ticket's name, study's name) -> sink for the records of a training."""
    should_stop: Callable[[], bool] = lambda: False

    @property
    def files(self) -> Workspace:
        return Workspace(self.root)


class ImageBar:
    """Progress bar over images, called with (done, total). Raises Stopped if `should_stop` asks for it."""

    def __init__(self, title: str, should_stop: Callable[[], bool]) -> None:
        self._title, self._should_stop = title, should_stop
        self._bar = tqdm(desc=title, unit="image", dynamic_ncols=True, mininterval=0.5)

    def __enter__(self) -> "ImageBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if self._should_stop():
            raise Stopped(f"{self._title}: stopped after {done} of {total} images; run it again")

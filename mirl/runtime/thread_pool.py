"""Thread pool that shares the tiles of a layer."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mirl.runtime.planes import Tiles
from mirl.runtime.tiles import Grid
from mirl.runtime.vectors import LINE

SHARES = 4
"""Number of parts for each thread into which the tiles are cut: a thread that is slowed down takes fewer parts."""
Work = Callable[[int, Tiles, np.ndarray], None]
"""Function that computes a part, given its number, its tiles and the scratch memory."""


class ThreadPool:
    """Pool of `threads` threads, each with scratch memory that is kept between layers. Any thread may call the pool."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._own = threading.local()

    def parts(self, grid: Grid) -> int:
        """Return the number of parts into which the tiles are cut."""
        return min(grid.tiles, SHARES * self._threads)

    def run(self, work: Work, tiles: Sequence[Tiles], planes: int) -> None:
        """Call `work` for every part of the tiles of one image, with memory of `planes` planes; `work` releases the GIL.

        All have one grid. A part is in one call for each sub-network that has tiles in it.
        """
        grid = tiles[0].grid
        parts = self.parts(grid)
        bounds = [part * grid.tiles // parts for part in range(parts + 1)]
        waiting = enumerate(itertools.pairwise(bounds))  # a step of it is done under the interpreter's lock

        def take(_: int) -> None:
            memory = self._memory(planes * grid.plane)
            for part, bound in waiting:
                for some in _between(tiles, *bound):
                    work(part, some, memory)

        if min(parts, self._threads) == 1:
            take(0)
        else:
            list(self._pool.map(take, range(self._threads)))

    def _memory(self, count: int) -> np.ndarray:
        """Return this thread's scratch memory of at least `count` numbers; several callers may run layers at once."""
        memory = getattr(self._own, "memory", None)
        if memory is None or len(memory) < count:
            memory = self._own.memory = _aligned(count)
        return memory


def _aligned(count: int) -> np.ndarray:
    """Allocate `count` float32 zeros that begin at the start of a cache line."""
    room = np.zeros(count + LINE, np.float32)
    first = -(room.ctypes.data // room.itemsize) % LINE
    return room[first : first + count]


def all_tiles(grid: Grid) -> list[Tiles]:
    """Return the tiles of an image that one network restores, row by row."""
    return [Tiles(grid, np.arange(grid.tiles), 0)]


def _between(tiles: Sequence[Tiles], first: int, last: int) -> Iterator[Tiles]:
    """Yield those from `first` on and before `last`, counted through all of `tiles`."""
    start = 0
    for some in tiles:
        numbers = some.numbers[max(first - start, 0) : max(last - start, 0)]
        if len(numbers):
            yield some._replace(numbers=numbers)
        start += len(some.numbers)

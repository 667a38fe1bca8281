"""A thread pool that shares the tiles of a layer."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mirl.runtime.planes import Tiles
from mirl.runtime.tiles import Grid
from mirl.runtime.vectors import LINE

SHARES = 4
"""Into how many parts each thread's tiles are cut: who is disturbed does fewer of them."""
Work = Callable[[int, Tiles, np.ndarray], None]
"""Does a part: its number, its tiles, the memory it may use."""


class ThreadPool:
    """`threads` of them, each with scratch memory of its own that stays from layer to layer. Any thread may call it."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._own = threading.local()

    def parts(self, grid: Grid) -> int:
        """Into how many parts the tiles are cut."""
        return min(grid.tiles, SHARES * self._threads)

    def run(self, work: Work, grid: Grid, planes: int) -> None:
        """Call `work` for every part of the tiles, with memory of `planes` planes; it lets go of the interpreter."""
        parts = self.parts(grid)
        bounds = [part * grid.tiles // parts for part in range(parts + 1)]
        waiting = enumerate(itertools.pairwise(bounds))  # a step of it is done under the interpreter's lock

        def take(_: int) -> None:
            memory = self._memory(planes * grid.plane)
            for part, (first, last) in waiting:
                work(part, Tiles(grid, first, last), memory)

        if min(parts, self._threads) == 1:
            take(0)
        else:
            list(self._pool.map(take, range(self._threads)))

    def _memory(self, count: int) -> np.ndarray:
        """This thread's; several callers may run layers at the same time."""
        memory = getattr(self._own, "memory", None)
        if memory is None or len(memory) < count:
            memory = self._own.memory = _aligned(count)
        return memory


def _aligned(count: int) -> np.ndarray:
    """Zeros that begin where a line of cache does."""
    room = np.zeros(count + LINE, np.float32)
    first = -(room.ctypes.data // room.itemsize) % LINE
    return room[first : first + count]

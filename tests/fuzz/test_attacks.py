"""A thousand tickets that lie, each read in every way that there is: none may cost more than a good one does."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.fuzz.victim import Job, Verdict, suffer

CASES, SEED, VICTIMS = 1000, 3, 2
SECONDS, MIB = 2.0, 200.0
"""Over what the dearest good ticket takes, for each way to read it."""
BYTES_A_SECOND = 1e8
"""At which a file is at least read and its digest made: `mirl inspect` does so also where it may not build the network."""
PATIENCE = 60
"""Seconds after which a case hangs, also on a busy machine."""


def test_each_costs_what_its_file_costs(readable: list[bytes], pictures: list[bytes], tmp_path: Path) -> None:
    good: list[Verdict] = []
    found: list[Verdict] = []
    with _victims(readable, pictures[0], tmp_path) as pipes:
        left = dict.fromkeys(pipes, good)
        while left:
            ready = wait(list(left), timeout=PATIENCE)
            assert ready, (
                f"one after {[verdict.name for verdict in found[-VICTIMS:]]} takes over {PATIENCE} s"
            )
            for pipe in ready:
                assert isinstance(pipe, Connection)
                try:
                    verdict = pipe.recv()
                except EOFError:
                    del left[pipe]
                    continue
                if verdict is None:
                    left[pipe] = found
                else:
                    left[pipe].append(verdict)
    assert len(found) == CASES, f"a victim died after {found[-1].name}"
    assert [verdict.wrong for verdict in good] == [""] * len(good)
    assert [(verdict.name, verdict.wrong) for verdict in found if verdict.wrong] == []
    seconds = SECONDS + max(taken.seconds for verdict in good for taken in verdict.taken)
    mib = MIB + max(taken.mib for verdict in good for taken in verdict.taken)
    dear = [
        verdict
        for verdict in found
        for taken in verdict.taken
        if taken.seconds > seconds + verdict.size / BYTES_A_SECOND or taken.mib > mib
    ]
    assert [(verdict.name, verdict.taken) for verdict in dear] == []
    harmless = sum(verdict.restores for verdict in found)
    assert 0.01 < harmless / CASES < 0.2, f"{harmless} are no attacks"


@contextmanager
def _victims(readable: list[bytes], picture: bytes, folder: Path) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(VICTIMS):
        ours, theirs = context.Pipe(duplex=False)
        own = folder / str(number)
        own.mkdir()
        numbers = range(number, CASES, VICTIMS)
        job = Job(whole=readable, picture=picture, folder=own, numbers=numbers, seed=SEED)
        process = context.Process(target=suffer, args=(job, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield pipes
    finally:
        for process in processes:
            process.kill()
            process.join()

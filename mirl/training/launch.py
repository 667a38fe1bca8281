"""Training of a network in as many processes as the machine section says."""

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

from mirl.config import Stopped, UserError
from mirl.methods.plan import Plan
from mirl.networks.imported import allowed
from mirl.records import Sink, TrainRecord
from mirl.training import loop
from mirl.training.context import TrainingContext
from mirl.training.device import device_of
from mirl.training.loading import SampleStream
from mirl.training.loop import Trained
from mirl.training.ranks import GroupBroken, RankAddress, RankJob, run_rank
from mirl.training.section import MachineSection, TrainSection

LISTEN_SECONDS = 0.2
"""Seconds between two checks whether to stop."""
GRACE_SECONDS = 1.0
"""Seconds for the other processes to end after one has: they may know the reason."""


def train(
    network: nn.Module, plan: Plan, stream: SampleStream, section: TrainSection, context: TrainingContext
) -> Trained:
    """Train as `loop.train` does; several processes give the same weights as one, within rounding.

    The processes leave the checkpoint of a finished training, which is read here. Raises UserError if they cannot share
    a batch evenly or there are too few GPUs, and Stopped also if a process dies.
    """
    machine = context.machine
    if machine.processes > 1 and plan.length > 0:
        _refuse(machine, section.batches.batch)
        job = RankJob(
            network=network, plan=plan, stream=stream, section=section, machine=machine,
            checkpoint=context.checkpoint, title=context.title, own_networks=allowed(),
        )  # fmt: skip
        _train_in_processes(job, context)
    return loop.train(network, plan, stream, section, context)


def _refuse(machine: MachineSection, batch: int) -> None:
    wanted = machine.processes
    machine.refuse_uneven(batch)
    device = device_of(machine)
    if device.index is not None:
        raise UserError(
            f"machine.device is {device}, which is one GPU, but machine.processes is {wanted}; use `cuda`, and "
            "CUDA_VISIBLE_DEVICES to choose the GPUs"
        )
    if device.type == "cuda" and torch.cuda.device_count() < wanted:
        raise UserError(
            f"machine.processes is {wanted}, but torch sees {torch.cuda.device_count()} GPUs; use at most as many"
        )


@dataclass(kw_only=True, eq=False)
class _Rank:
    """Process that trains, and the error that it has reported."""

    number: int
    process: BaseProcess
    link: connection.Connection
    said: UserError | Stopped | GroupBroken | str | None = None

    def tell(self, message: bytes) -> None:
        with suppress(OSError):  # it has ended, which is seen elsewhere
            self.link.send_bytes(message)

    def listen(self, sink: Sink) -> None:
        """Pass received records on to `sink`, and keep a received error."""
        while not self.link.closed and self.link.poll():
            try:
                message = self.link.recv()
            except (EOFError, OSError):
                self.link.close()
            else:
                if isinstance(message, TrainRecord):
                    sink.log(message)
                else:
                    self.said = message


def _train_in_processes(job: RankJob, context: TrainingContext) -> None:
    """Start the processes and wait until the last has ended; none is left, whatever happens."""
    with socket.create_server(("127.0.0.1", 0)) as free:  # any port that is free, for this machine alone
        port = free.getsockname()[1]
        store = dist.TCPStore(
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=free.detach()
        )
    ranks: list[_Rank] = []
    try:
        size = job.machine.processes
        addresses = [RankAddress(rank=rank, size=size, port=port, parent=os.getpid()) for rank in range(size)]
        ranks.extend(_start_rank(address) for address in addresses)
        kind = device_of(job.machine).type
        for rank in ranks:  # once all have begun: a process takes seconds to listen
            device = f"cuda:{rank.number}" if kind == "cuda" else "cpu"
            machine = job.machine.model_copy(update={"device": device})
            rank.tell(pickle.dumps(replace(job, machine=machine)))
        _supervise(ranks, context)
    finally:
        for rank in ranks:
            rank.process.kill()
        for rank in ranks:
            rank.process.join()
        del store


def _start_rank(address: RankAddress) -> _Rank:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_rank, args=(address, theirs), name=f"rank {address.rank}")
    process.start()
    theirs.close()
    return _Rank(number=address.rank, process=process, link=ours)


def _supervise(ranks: list[_Rank], context: TrainingContext) -> None:
    """Pass on records and the stop request until all processes have finished. Raises an error if one has failed."""
    told = False
    while running := [rank.process.sentinel for rank in ranks if rank.process.exitcode is None]:
        links = [rank.link for rank in ranks if not rank.link.closed]
        connection.wait([*links, *running], LISTEN_SECONDS)
        for rank in ranks:
            rank.listen(context.sink)
        if any(rank.process.exitcode for rank in ranks):
            _raise_reason(ranks, context)
        if not told and context.should_stop():
            told = True
            for rank in ranks:
                rank.tell(b"stop")
    for rank in ranks:
        rank.listen(context.sink)
    if any(rank.process.exitcode for rank in ranks):  # the last of them, since it was looked at
        _raise_reason(ranks, context)


def _raise_reason(ranks: list[_Rank], context: TrainingContext) -> NoReturn:
    """Raise the error with which the processes ended: UserError, or Stopped."""
    until = time.monotonic() + GRACE_SECONDS
    for rank in ranks:
        rank.process.join(max(0, until - time.monotonic()))
        rank.listen(context.sink)
    for kind in (UserError, Stopped):
        for rank in ranks:
            if isinstance(rank.said, kind):
                raise rank.said
    raise Stopped(f"{context.title}: {_reason(ranks)}; run it again to go on")


def _reason(ranks: list[_Rank]) -> str:
    """Describe the most likely first cause: a failure, a signal, or lost contact between the processes."""
    for rank in ranks:
        if isinstance(rank.said, str):
            tqdm.write(rank.said, file=sys.stderr)
            return f"its process {rank.number} failed ({rank.said.strip().splitlines()[-1]})"
    for rank in ranks:
        if (rank.process.exitcode or 0) < 0:
            name = signal.Signals(-(rank.process.exitcode or 0)).name
            return f"its process {rank.number} was ended by {name}"
    for rank in ranks:
        if isinstance(rank.said, GroupBroken):
            return f"its process {rank.number} does not reach the others ({' '.join(str(rank.said).split())})"
    return "a process has ended"

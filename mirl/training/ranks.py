"""Rank of a process group that trains a network together."""

import math
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from mirl import terminal
from mirl.config import Stopped, UserError
from mirl.methods.plan import Plan
from mirl.networks import refuse_other_source
from mirl.networks.imported import allow
from mirl.records import NullSink, TrainRecord
from mirl.training.context import TrainingContext
from mirl.training.loading import SampleStream
from mirl.training.loop import train
from mirl.training.parent_process import end_only_with_parent
from mirl.training.process_group import ProcessGroup
from mirl.training.section import MachineSection, TrainSection


class GroupBroken(Exception):
    """Error raised if the processes cannot reach each other any more: one has ended, or communication has failed."""


@dataclass(frozen=True, kw_only=True)
class DistributedGroup(ProcessGroup):
    """Group of several processes over torch.distributed: gloo between CPUs, NCCL between GPUs."""

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        said = torch.tensor(flags, dtype=torch.uint8)
        _run_collective(lambda: dist.all_reduce(said, dist.ReduceOp.MAX))
        return said.bool().tolist()

    def total(self, value: float | None) -> float | None:
        sum_ = torch.tensor(math.nan if value is None else value, dtype=torch.float64)
        _run_collective(lambda: dist.all_reduce(sum_))
        return None if sum_.isnan() else float(sum_)

    def all_reduce_(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _run_collective(lambda: dist.all_reduce(flat))
        parts = flat.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(t) for part, t in zip(parts, tensors)])

    def check_same(self, tensors: Sequence[Tensor]) -> None:
        # sums of the bits: exact, so the order in which they are added does not matter
        mine = torch.stack([tensor.detach().view(torch.int32).sum() for tensor in tensors])
        lowest, highest = mine.clone(), mine.clone()
        _run_collective(lambda: dist.all_reduce(lowest, dist.ReduceOp.MIN))
        _run_collective(lambda: dist.all_reduce(highest, dist.ReduceOp.MAX))
        assert torch.equal(lowest, highest), "the processes of a training have different weights"


def _run_collective(collective: Callable[[], object]) -> None:
    try:
        collective()
    except RuntimeError as error:
        raise GroupBroken(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """Job that every process is given to train."""

    network: nn.Module
    plan: Plan
    stream: SampleStream
    section: TrainSection
    machine: MachineSection
    checkpoint: Path
    title: str
    own_networks: dict[str, Path]
    """The user's own networks that were allowed, each with its folder."""


@dataclass(frozen=True, kw_only=True)
class RankAddress:
    """Rank of a process, and the address of the store by which it finds the other processes of its parent."""

    rank: int
    size: int
    port: int
    """Port of the parent's store on this machine, by which the processes find each other."""
    parent: int


@dataclass(frozen=True)
class _ToParent:
    """Sink that sends the records to the parent, which has the real sink."""

    link: Connection

    def log(self, record: TrainRecord) -> None:
        self.link.send(record)

    def close(self) -> None:
        pass


def run_rank(address: RankAddress, link: Connection) -> None:
    """Train the job received over `link`; any later message is a request to stop.

    Sends records, and, if the training does not finish, a UserError, Stopped, GroupBroken or traceback at the end.
    """
    terminal.guard()
    end_only_with_parent(address.parent)
    tqdm.set_lock(
        threading.RLock()
    )  # its own is shared between processes, and left behind where one is killed
    try:
        job: RankJob = pickle.loads(link.recv_bytes())
        for name, folder in job.own_networks.items():
            allow(name, folder)
        refuse_other_source(job.plan.network)  # it was imported anew, from what the file says by now
        group = _join(address, torch.device(job.machine.device))
        context = TrainingContext(
            checkpoint=job.checkpoint,
            sink=_ToParent(link) if group.is_main else NullSink(),
            machine=job.machine,
            should_stop=link.poll,
            title=job.title,
            group=group,
        )
        train(job.network, job.plan, job.stream, job.section, context)
        code = 0
    except (UserError, Stopped, GroupBroken) as error:
        link.send(error)
        code = 1
    except Exception:
        link.send(traceback.format_exc())
        code = 1
    link.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an orderly end would wait for the others, which have all there is to have


def _join(address: RankAddress, device: torch.device) -> DistributedGroup:
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    if sys.platform == "linux":  # all are on this machine, whatever its name leads to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    store = dist.TCPStore("127.0.0.1", address.port, is_master=False)
    dist.init_process_group(backend, store=store, rank=address.rank, world_size=address.size)
    # NCCL begins with its first word: here, while memory is free
    _run_collective(lambda: dist.all_reduce(torch.zeros(1, device=device)))
    return DistributedGroup(rank=address.rank, size=address.size)

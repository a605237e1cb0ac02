"""The processes of one training run, as torchrun starts them.

    torchrun --nproc-per-node 2 -m edgebehave_cli train runs/store -o runs/edge

Every process (rank) trains on its share of each batch, and the gradients are averaged: by DistributedDataParallel, or,
for large models, by FSDP2, which also splits weights and optimizer. Rank 0 alone validates and writes. When a process
is lost, the others end with one line; the run goes on from its last save with any number of processes.
"""

# R rows of a batch

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

Parallel = Literal["auto", "ddp", "fsdp"]
PARALLEL: tuple[Parallel, ...] = ("auto", "ddp", "fsdp")
SHARD_FROM_PARAMETERS = 100_000_000
"""Models from this size on are split over the processes; the preset `paper` has 150 million parameters."""
_PATIENCE = timedelta(days=7)
"""Others wait as long as rank 0 validates. A lost process is noticed by its connections and by torchrun."""
_RELEASE_S = 0.2
"""Seconds without the GIL before the group ends."""
_LOST = ("Connection closed", "Connection reset", "Connection refused", "Broken pipe", "gloo", "NCCL", "nccl")


class RankError(OSError):
    """An error that one process of several reports; the others end in silence."""


class LostProcessError(RankError):
    """Another process of the run has ended."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a run: this one's rank among so many; one process needs no group.

    store  shared by all processes, to agree on who prints an error; None for one process.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, part: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(part)
        return part

    def of_first(self, *numbers: float) -> list[float]:
        """Numbers of rank 0, on every rank."""
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.broadcast(values, 0)
        return values.tolist()

    def wait(self) -> None:
        """Until every rank has come here."""
        self.of_first(0)

    def reports(self) -> bool:
        """Whether this rank is the first one that wants to report an error."""
        if self.store is None:
            return True
        try:
            return int(self.store.add("errors", 1)) == 1
        except RuntimeError:  # the store is lost as well
            return True


@contextmanager
def ranks_of_run(device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, connected inside of the block: gloo on the CPU, nccl on CUDA.

    Raises ValueError where torch lacks the means. In the block, an error that follows from the end of another process
    becomes one LostProcessError; ranks that have nothing new to say end in silence, with exit code 1.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(device=device)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    is_there = dist.is_available() and (dist.is_nccl_available() if backend == "nccl" else dist.is_gloo_available())
    if not is_there:
        raise ValueError(f"several processes on {device.type} need torch with {backend}; start one process")
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank, size = next(iter(rendezvous("env://", timeout=_PATIENCE)))
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    ranks = Ranks(rank=rank, size=size, device=device, store=store)
    try:
        with _ended_by_signal():
            yield ranks
            ranks.wait()  # the files of rank 0 are there before any rank goes on
    except (ValueError, OSError, RuntimeError) as error:
        lost = isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST)
        if isinstance(error, RuntimeError) and not lost:
            raise
        if not ranks.reports():
            raise SystemExit(1) from None
        if not lost and not ranks.is_first and not isinstance(error, RankError):
            raise RankError(f"process {ranks.rank} of {ranks.size}: {error}") from error
        if lost:
            raise LostProcessError(
                f"a process of the run has ended, so this one of {size} ends too; go on with --resume, "
                "with any number of processes"
            ) from error
        raise
    finally:
        # A thread of gloo needs the GIL to free the tensors of its last work, and the end of the group waits for that
        # thread with the GIL in its hands. So the thread gets the GIL before.
        time.sleep(_RELEASE_S)
        dist.destroy_process_group()


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """torchrun ends the processes that are left with SIGTERM: an error of Python instead of a silent end."""

    def end(number: int, frame: Any) -> NoReturn:
        raise LostProcessError(
            "the run was ended, as torchrun does when a process is lost; go on with --resume, with any number of "
            "processes"
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- models over several processes ------------------------------------------------------------


def is_sharded(num_parameters: int, ranks: Ranks, parallel: Parallel) -> bool:
    """Whether FSDP2 splits a model. Raises ValueError for an unknown way."""
    if parallel not in PARALLEL:
        raise ValueError(f"parallel must be {', '.join(PARALLEL)}, got {parallel!r}")
    return ranks.size > 1 and (parallel == "fsdp" or (parallel == "auto" and num_parameters >= SHARD_FROM_PARAMETERS))


def shard(module: nn.Module, blocks: Sequence[nn.Module]) -> None:
    """Split the weights of a module over all processes, by FSDP2: block by block, then the rest."""
    for block in blocks:
        fully_shard(block)
    fully_shard(module)


def averaging(module: nn.Module, ranks: Ranks, *, sharded: bool) -> nn.Module:
    """The module whose backward pass averages the gradients of all processes."""
    if ranks.size == 1 or sharded:
        return module
    with warnings.catch_warnings():
        # torch 2.13 has another name for the argument; older ones know this one alone.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(module, broadcast_buffers=False)


@contextmanager
def without_averaging(module: nn.Module) -> Iterator[None]:
    """Gradients of a micro-batch that is not the last of its step stay in this process."""
    if isinstance(module, DistributedDataParallel):
        with module.no_sync():
            yield
    elif isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(False)
        yield
        module.set_requires_gradient_sync(True)
    else:
        yield

"""The processes of one run: who this one is, and what it must agree on with the others.

Started by ``torchrun``, every process of a training holds the same networks, draws its part of
every batch, and averages its gradients with the others' (DistributedDataParallel). Predictions are
dealt out case by case. Without torchrun there is one process.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from flare_core.errors import InputError
from flare_core.wording import many

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long a process waits for the others, one of which may be predicting or resampling a whole
cohort; torch's own limit is half an hour."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is."""

    rank: int = 0
    """This process's number, from 0."""
    count: int = 1
    """How many there are."""
    neighbours: int = 1
    """How many of them share this machine's cores, this one included."""

    @property
    def first(self) -> bool:
        """Whether this one does what only one may do: write files, report."""
        return self.rank == 0

    def part_of(self, size: int) -> range:
        """Return which of `size` things are this process's.

        Examples
        --------
        >>> [list(Processes(rank, 2).part_of(5)) for rank in (0, 1)]
        [[0, 2, 4], [1, 3]]
        """
        return range(self.rank, size, self.count)

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()

    def agree(self, value: T) -> T:
        """Return the first process's value in every process, so that all of them decide alike."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, mine: Sequence[T]) -> list[T]:
        """Return what all processes hold, in the order in which `part_of` dealt it out."""
        if self.count == 1:
            return list(mine)
        import torch.distributed as dist

        parts: list[Sequence[T]] = [()] * self.count
        dist.all_gather_object(parts, list(mine))
        total = sum(len(part) for part in parts)
        return [parts[i % self.count][i // self.count] for i in range(total)]


ALONE = Processes()
"""One process, as without torchrun."""


def join(device: str = "cpu") -> Processes:
    """Meet the other processes that torchrun started.

    Parameters
    ----------
    device : str
        ``cuda`` gives every process of a machine a GPU of its own.

    Raises
    ------
    InputError
        If a machine has more processes than GPUs.
    """
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_torchelastic_launched():
        return ALONE
    if not dist.is_initialized():
        # a PyTorch for GPUs has NCCL on a machine without one, too, and there it cannot begin
        nccl = device == "cuda" and dist.is_nccl_available()
        backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
    if device == "cuda":
        _take_gpu(dist.get_node_local_rank())
    hosts: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(hosts, socket.gethostname())
    return Processes(dist.get_rank(), dist.get_world_size(), hosts.count(socket.gethostname()))


def leave() -> bool:
    """Wait for the other processes, if there are any; return whether there are.

    A process that has others should then end at once (`os._exit`): the threads of gloo now and then
    abort a process that is taken apart in the usual order, when all its work is done.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return False
    dist.barrier()
    return True


def _take_gpu(place: int) -> None:
    import torch

    there = torch.cuda.device_count()
    if place >= there:
        raise InputError(
            "torchrun --nproc-per-node",
            f"process {place} of this machine, which has {there} GPUs",
            f"at most {many(there, 'process', 'processes')}",
            'Start fewer processes, or set "device" to "cpu" in the configuration.',
        )
    torch.cuda.set_device(place)

# SPDX-License-Identifier: Apache-2.0
"""
Several processes that learn one model together, on one machine or many, as torchrun starts them.

Each process looks at its share of the images of a batch, which is nearly all of the work. What
they show is then gathered, and every process computes the rest (projection, forward and inverse
model, losses) of the whole batch for itself. So BatchNorm, and any loss that compares images with
each other, sees the whole batch, and the loss is that of one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
import os
from typing import Any

from smwm_ros.errors import TrainingError
from smwm_ros.text import count_of
import torch
from torch import distributed, nn, Tensor


class ProcessGroup:
    """This process among those of its kind; alone where nobody started others."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Return whether this process is the one that writes, measures and tells."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Return the windows of a batch whose images this process looks at."""
        if batch % self.size:
            raise TrainingError(
                f'train.batch: {count_of(batch, "window")} cannot be shared evenly by {self.size} '
                'processes'
            )
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, seen: Tensor) -> Tensor:
        """Put together what all processes saw: (T+1, B / size, F) -> (T+1, B, F)."""
        if self.size == 1:
            return seen
        parts: Tensor = _Gather.apply(seen, self.rank, self.size)  # type: ignore[no-untyped-call]
        return parts.transpose(0, 1).flatten(1, 2)

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Give every process the gradient of the whole batch."""
        if self.size == 1:
            return
        slopes = [weight.grad for weight in weights if weight.grad is not None]
        together = torch.cat([slope.flatten() for slope in slopes])
        distributed.all_reduce(together)
        together /= self.size
        begin = 0
        for slope in slopes:
            slope.copy_(together[begin : begin + slope.numel()].view_as(slope))
            begin += slope.numel()

    def require_same(self, what: object, told: str) -> None:
        """Wait for all, and refuse to go on where they do not agree."""
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, what)
        if any(other != what for other in found):
            raise TrainingError(f'{told}: the processes do not agree: {found}')


ALONE = ProcessGroup()


class _Gather(torch.autograd.Function):
    """What each process saw, for all: (T+1, b, F) -> (size, T+1, b, F)."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.size = rank, size
        parts = [torch.empty_like(part) for _ in range(size)]
        distributed.all_gather(parts, part.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        # The loss of the whole batch is known here, so nobody else's gradient is needed. Gradients
        # are averaged later, as if each were whole, and this one is a part of a sum.
        return slopes[0][ctx.rank] * ctx.size, None, None


def is_leader() -> bool:
    """Tell whether this process leads those that torchrun started, or is alone."""
    return os.environ.get('RANK', '0') == '0'


@contextmanager
def join_processes(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, if it did."""
    size = int(os.environ.get('WORLD_SIZE', '1'))
    if size == 1:
        yield ProcessGroup()
        return
    distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    try:
        yield ProcessGroup(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()

# SPDX-License-Identifier: Apache-2.0
"""
Train one model in several processes, on one machine or many, as torchrun starts them.

Each process computes the image features of its share of a batch, which is nearly all of the work.
The features are gathered, and every process computes the rest (encoder head, forward and inverse
model, losses) for the whole batch. So BatchNorm, and losses that compare images with each other,
use the whole batch, and the loss equals that of one process.
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
    """Rank of this process and number of processes; a group of one does not communicate."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Return whether this process is the one that writes files, validates and prints."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Return the windows of a batch whose images this process encodes."""
        if batch % self.size:
            raise TrainingError(
                f'train.batch: {count_of(batch, "window")} cannot be shared evenly by {self.size} '
                f'processes; choose a multiple of {self.size}'
            )
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, features: Tensor) -> Tensor:
        """Join the features of all processes: (T+1, B / size, F) -> (T+1, B, F)."""
        if self.size == 1:
            return features
        parts: Tensor = _Gather.apply(features, self.rank, self.size)  # type: ignore[no-untyped-call]
        return parts.transpose(0, 1).flatten(1, 2)

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their mean over all processes."""
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

    def require_same(self, value: object, name: str) -> None:
        """Wait for all processes, and raise a TrainingError if their values differ."""
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        if any(other != value for other in found):
            raise TrainingError(f'{name}: expected the same in all processes, found {found}')


ALONE = ProcessGroup()


class _Gather(torch.autograd.Function):
    """All-gather that passes gradients back: (T+1, b, F) -> (size, T+1, b, F)."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.size = rank, size
        parts = [torch.empty_like(part) for _ in range(size)]
        distributed.all_gather(parts, part.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        # Every process computes the loss of the whole batch, so no gradient of another process is
        # needed. average_gradients divides by the size later, so multiply here: parts are summed.
        return slopes[0][ctx.rank] * ctx.size, None, None


def is_leader() -> bool:
    """Return whether this process has rank 0, or was not started by torchrun."""
    return os.environ.get('RANK', '0') == '0'


@contextmanager
def join_processes(device: torch.device) -> Iterator[ProcessGroup]:
    """Open the process group that torchrun set up, or a group of one without it."""
    size = int(os.environ.get('WORLD_SIZE', '1'))
    if size == 1:
        yield ProcessGroup()
        return
    distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    try:
        yield ProcessGroup(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()

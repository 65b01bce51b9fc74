# SPDX-License-Identifier: Apache-2.0
"""
A network of a latent and a goal latent, trained after the world model on its latents.

The latents of such a network are standardised by those of the drives it learns from. An actor, by
contrast, is trained with the model (model/actor.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from smwm_ros.errors import CheckpointError, one_line
from smwm_ros.model.device import seeded
from smwm_ros.model.networks import perceptron
import torch
from torch import nn, Tensor

HIDDEN = 256
BATCH = 512  # pairs of frames
RATE = 2e-3  # peak learning rate


class GoalNetwork(nn.Module):
    """Latents, goal latents and `more` numbers -> `size_out` numbers."""

    mean: Tensor  # (D,) of the latents
    std: Tensor  # (D,)

    def __init__(self, latent: int, size_out: int, more: int = 0) -> None:
        super().__init__()
        self.layers = perceptron(2 * latent + more, HIDDEN, size_out)
        self.register_buffer('mean', torch.zeros(latent))
        self.register_buffer('std', torch.ones(latent))

    def read(self, z: Tensor, goal: Tensor, *more: Tensor) -> Tensor:
        """Return the output (..., size_out) for z (..., D) and goals (..., D)."""
        here, there = (z - self.mean) / self.std, (goal - self.mean) / self.std
        found: Tensor = self.layers(torch.cat([here, there - here, *more], dim=-1))
        return found


Network = TypeVar('Network', bound=GoalNetwork)


def untrained(make: Callable[[int], Network], latents: Tensor, seed: int) -> Network:
    """Return a network of latents (R, D), by a seed."""
    with seeded(seed):
        network = make(latents.shape[1])
    network.mean.copy_(latents.mean(dim=0))
    network.std.copy_(latents.std(dim=0).clamp(min=1e-6))
    return network


def reloaded(
    make: Callable[[int], Network], tensors: dict[str, Tensor], folder: Path | None, name: str
) -> Network:
    """Return the network of these weights; raise CheckpointError where they do not fit."""
    network = make(len(tensors['mean']))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = one_line(error)
        raise CheckpointError(f'{folder}: its {name} do not fit its model: {reason}') from None
    return network.eval().requires_grad_(False)

# SPDX-License-Identifier: Apache-2.0
"""
Lambda, the weight of the inverse loss, found while training.

A good lambda differs between robots by a factor of a hundred, and the inverse error by much less.
So the error is given a target, and lambda follows: minimise L_fwd subject to L_inv <= target, by
ascent on the Lagrangian in log(lambda). A lambda too small lets the error grow, and is raised; one
too large is lowered, and leaves the latent to what is predictable. Both errors are shares here,
of the variance of the latents and of the actions, so that lambda has the same few sensible values
everywhere; where it begins hardly matters.
"""

from __future__ import annotations

import math

import torch
from torch import nn, Tensor

PACE = 0.05  # of log(lambda) in one step, at most: a factor of 10 takes 46 steps
NEAR = 0.3  # of log(error / target): closer than this, lambda slows down
LOWEST, HIGHEST = 0.01, 10.0  # beyond, one of the two terms is all that is learnt from


class Multiplier(nn.Module):
    """Lambda as a number that belongs to the model, so that it is saved and resumed with it."""

    log: Tensor  # () float64 natural logarithm of lambda

    def __init__(self, start: float, target: float) -> None:
        super().__init__()
        self.target = target
        start = min(max(start, LOWEST), HIGHEST)
        self.register_buffer('log', torch.tensor(math.log(start), dtype=torch.float64))

    def forward(self) -> Tensor:
        """Return lambda, where the model is, such that a GPU need not wait for it."""
        return self.log.exp().float()

    def ascend(self, error: Tensor) -> None:
        """Take a step: up where the error () lies above its target, else down."""
        slope = (error.double().clamp(min=1e-12) / self.target).log() / NEAR
        self.log.add_(PACE * slope.clamp(-1, 1)).clamp_(math.log(LOWEST), math.log(HIGHEST))

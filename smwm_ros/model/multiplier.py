# SPDX-License-Identifier: Apache-2.0
"""
Lambda, the weight of the inverse loss, adjusted during training.

A good lambda differs between robots by a factor of 100, the inverse error by much less. So the
error has a target: minimise L_fwd subject to L_inv <= target, by gradient ascent on the Lagrangian
in log(lambda). Lambda rises while the error is above its target, and falls while it is below. Both
errors are divided by a variance (of the latents, of the actions), so that the same range of lambda
suits every robot. The initial value hardly matters.
"""

from __future__ import annotations

import math

import torch
from torch import nn, Tensor

PACE = 0.05  # largest change of log(lambda) in a step: a factor of 10 takes 46 steps
NEAR = 0.3  # |log(error / target)| below which lambda changes more slowly
LOWEST, HIGHEST = 0.01, 10.0  # beyond, one of the two terms dominates the gradient


class Multiplier(nn.Module):
    """Lambda as a buffer of the model, so that it is saved and resumed with the weights."""

    log: Tensor  # () float64 natural logarithm of lambda

    def __init__(self, start: float, target: float) -> None:
        super().__init__()
        self.target = target
        start = min(max(start, LOWEST), HIGHEST)
        self.register_buffer('log', torch.tensor(math.log(start), dtype=torch.float64))

    def forward(self) -> Tensor:
        """Return lambda () on the device of the model, without a GPU synchronisation."""
        return self.log.exp().float()

    def ascend(self, error: Tensor) -> None:
        """Raise lambda if the error () is above its target, else lower it."""
        slope = (error.double().clamp(min=1e-12) / self.target).log() / NEAR
        self.log.add_(PACE * slope.clamp(-1, 1)).clamp_(math.log(LOWEST), math.log(HIGHEST))

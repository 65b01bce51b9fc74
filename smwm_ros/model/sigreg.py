# SPDX-License-Identifier: Apache-2.0
"""
SIGReg, the regulariser of LeWorldModel: projections of the latents should be standard normal.

Latents that are all equal minimise the forward loss. Along random directions, SIGReg compares the
characteristic function of the batch with that of a standard normal distribution (the
Epps-Pulley statistic), which is far from that of a collapsed batch.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor

KNOTS = 17  # points where characteristic functions are compared
LAST_KNOT = 3.0  # beyond it the weight exp(-t^2/2) is close to 0


class SigReg(nn.Module):
    """Return the mean statistic of latents (T, B, D) over time steps and directions, a scalar."""

    t: Tensor  # (knots,) points where the characteristic functions are compared
    normal: Tensor  # (knots,) characteristic function of the standard normal distribution (real)
    weights: Tensor  # (knots,) of the integral over -3..3, which is symmetric

    def __init__(self, directions: int) -> None:
        super().__init__()
        self._directions = directions
        t = torch.linspace(0, LAST_KNOT, KNOTS)
        normal = torch.exp(-t.square() / 2)
        trapezoid = torch.full_like(t, 2 * LAST_KNOT / (KNOTS - 1))
        trapezoid[[0, -1]] /= 2
        for name, value in (('t', t), ('normal', normal), ('weights', trapezoid * normal)):
            self.register_buffer(name, value, persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """Draw new random directions, and return the mean over them."""
        # Differences of cosines are too small for half precision.
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            directions = torch.randn(z.shape[-1], self._directions, device=z.device)
            shadow = z @ (directions / directions.norm(dim=0))  # (T, B, directions)
            angle = shadow.unsqueeze(-1) * self.t  # (T, B, directions, knots)
            real, imaginary = angle.cos().mean(dim=1), angle.sin().mean(dim=1)
            apart = (real - self.normal).square() + imaginary.square()
            statistic: Tensor = (apart @ self.weights).mean() * z.shape[1]
            return statistic

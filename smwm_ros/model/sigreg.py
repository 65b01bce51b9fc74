# SPDX-License-Identifier: Apache-2.0
"""
SIGReg, the regulariser of LeWorldModel: latents that look Gaussian from every side.

Latents that all lie in one point are the lazy answer to the forward loss. Along a random direction
the characteristic function of the batch is compared with that of a standard normal distribution
(the statistic of Epps and Pulley), which a collapsed batch is far from.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor

KNOTS = 17  # points where characteristic functions are compared
LAST_KNOT = 3.0  # beyond it the weight exp(-t^2/2) leaves nothing to compare


class SigReg(nn.Module):
    """Latents (T, B, D) -> how far each time step is from Gaussian, a scalar."""

    t: Tensor  # (knots,) where characteristic functions are compared
    normal: Tensor  # (knots,) that of a standard normal distribution, which is real
    weights: Tensor  # (knots,) of the integral over -3..3, by symmetry from its right half

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
        """Look from as many fresh random directions, and take the mean."""
        # Differences of cosines are small: half precision would lose them.
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            directions = torch.randn(z.shape[-1], self._directions, device=z.device)
            shadow = z @ (directions / directions.norm(dim=0))  # (T, B, directions)
            angle = shadow.unsqueeze(-1) * self.t  # (T, B, directions, knots)
            real, imaginary = angle.cos().mean(dim=1), angle.sin().mean(dim=1)
            apart = (real - self.normal).square() + imaginary.square()
            statistic: Tensor = (apart @ self.weights).mean() * z.shape[1]
            return statistic

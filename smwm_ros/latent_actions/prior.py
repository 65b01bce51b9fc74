# SPDX-License-Identifier: Apache-2.0
"""
Priors over latent actions: maps from noise e ~ N(0, I) to likely latent actions z.

A search over e finds only latent actions that occur. Two priors are fitted to the latent actions
that the IDM infers: a Gaussian, and a rectified flow, which also reads the state x.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

JITTER = 1e-4  # added to the covariance [its mean variance], since some numbers of z may be unused
TINY = 1e-6
HIDDEN, STEPS, BATCH, RATE = 128, 1200, 256, 3e-3  # of the training of the flow
EULER = 8  # steps from noise to z


class GaussianPrior(nn.Module):
    """z = mean + root e."""

    mean: Tensor  # (Z,)
    root: Tensor  # (Z, Z) Cholesky factor of the covariance

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(width))
        self.register_buffer('root', torch.eye(width))

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Fit to latent actions (n, Z)."""
        away = (z - z.mean(dim=0)).double()
        covariance = away.T @ away / len(z)
        scale = covariance.diagonal().mean().clamp(min=TINY)
        self.mean.copy_(z.mean(dim=0))
        covariance.diagonal().add_(JITTER * scale)
        self.root.copy_(torch.linalg.cholesky(covariance))

    def forward(self, e: Tensor, x: Tensor) -> Tensor:
        """Map noise (..., Z) to latent actions."""
        return self.mean + e @ self.root.T

    def noise(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the noise (B, Z) that gives latent actions (B, Z)."""
        e: Tensor = torch.linalg.solve_triangular(self.root, (z - self.mean).T, upper=False)
        return e.T


class FlowPrior(nn.Module):
    """
    A rectified flow: noise moves with the velocity v(u, t, x) from t = 0 to 1.

    It starts from the fitted Gaussian: u is z, whitened. So it only learns what is not Gaussian,
    and what depends on the state x.
    """

    statistics: Tensor  # (2, X) mean and standard deviation of x

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.gaussian = GaussianPrior(width)
        self.register_buffer('statistics', torch.stack([torch.zeros(states), torch.ones(states)]))
        self.velocity = nn.Sequential(
            nn.Linear(width + 1 + states, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, width),
        ).requires_grad_(False)  # fit() trains it; the optimiser of the model must not
        self._reset()

    @torch.no_grad()
    def _reset(self) -> None:
        """Draw new weights, with which the flow is the Gaussian."""
        *inner, last = (layer for layer in self.velocity if isinstance(layer, nn.Linear))
        for layer in inner:
            layer.reset_parameters()
        last.weight.zero_()
        last.bias.zero_()

    @torch.no_grad()
    def fit(self, z: Tensor, x: Tensor, quick: bool = False) -> None:
        """Fit to latent actions (n, Z) of states (n, X); with `quick`, as the Gaussian alone."""
        self.gaussian.fit(z)
        self.statistics.copy_(torch.stack([x.mean(dim=0), x.std(dim=0).clamp(min=TINY)]))
        u = self.gaussian.noise(z, x)
        self._reset()  # so that the result does not depend on how often it was fitted
        if quick:
            return
        random = torch.Generator().manual_seed(0)  # of its own, so that training is not disturbed
        optimiser = torch.optim.AdamW(self.velocity.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
        self.velocity.requires_grad_(True)
        for _ in range(STEPS):
            row = torch.randint(len(z), (BATCH,), generator=random).to(z.device)
            start = torch.randn((BATCH, z.shape[1]), generator=random).to(u)
            t = torch.rand((BATCH, 1), generator=random).to(u)
            with torch.enable_grad():
                found = self._velocity(torch.lerp(start, u[row], t), t, x[row])
                loss = F.mse_loss(found, u[row] - start)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        self.velocity.requires_grad_(False)

    def forward(self, e: Tensor, x: Tensor) -> Tensor:
        """Map noise (..., Z) in states x (..., X) to latent actions."""
        u = e
        for step in range(EULER):
            u = u + self._velocity(u, u.new_full((*u.shape[:-1], 1), step / EULER), x) / EULER
        z: Tensor = self.gaussian(u, x)
        return z

    def noise(self, z: Tensor, x: Tensor) -> Tensor:
        """Return noise (B, Z) that gives latent actions (B, Z), up to the error of Euler steps."""
        u = self.gaussian.noise(z, x)
        for step in reversed(range(EULER)):
            u = u - self._velocity(u, u.new_full((*u.shape[:-1], 1), step / EULER), x) / EULER
        return u

    def _velocity(self, u: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """Return v (..., Z)."""
        mean, std = self.statistics
        v: Tensor = self.velocity(torch.cat([u, t, (x - mean) / std], dim=-1))
        return v

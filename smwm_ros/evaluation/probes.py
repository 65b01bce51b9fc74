# SPDX-License-Identifier: Apache-2.0
"""
Probes: small models that predict a measured state from a frozen latent.

Both are those of the paper, on standardised inputs: ridge regression (1e-3), and a network of 256
and 128 units with early stopping on a tenth of its data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy

import numpy as np
from smwm_ros.interfaces import Array
from smwm_ros.model.device import seeded
from smwm_ros.model.regression import ridge
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows

RIDGE = 1e-3
EPOCHS, PATIENCE, BATCH, RATE = 200, 12, 512, 1e-3
HELD_OUT = 0.1
NOTICED = 1e-4  # smallest improvement that counts, as a share of the variance

Probe = Callable[[Array], Array]


def linear(inputs: Array, targets: Array) -> Probe:
    """Fit (n, D) -> (n, P) by ridge regression; return the probe."""
    mean, std = _scale(inputs)
    x, offset = (inputs - mean) / std, targets.mean(0, dtype=np.float64)
    weights = ridge(x, targets - offset, RIDGE)

    def probe(values: Array) -> Array:
        read: Array = (values - mean) / std @ weights + offset
        return read

    return probe


def nonlinear(inputs: Array, targets: Array, seed: int = 0) -> Probe:
    """Fit (n, D) -> (n, P) with a small network; return the probe."""
    (mean, std), (target_mean, target_std) = _scale(inputs), _scale(targets)
    x = torch.from_numpy((inputs - mean) / std).float()
    y = torch.from_numpy((targets - target_mean) / target_std).float()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(x)))
    held_out = order[: max(round(HELD_OUT * len(x)), 1)]
    kept = order[len(held_out) :]
    with seeded(seed):
        network = nn.Sequential(
            nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
            nn.Linear(128, y.shape[1]),
        )  # fmt: skip
        best, waited = float('inf'), 0
        weights = copy.deepcopy(network.state_dict())
        for _ in fit(network, x[kept], y[kept], F.mse_loss, EPOCHS, BATCH, RATE):
            with torch.no_grad():
                error = float(F.mse_loss(network(x[held_out]), y[held_out]))
            waited = 0 if error < best - NOTICED else waited + 1
            if error < best:
                best, weights = error, copy.deepcopy(network.state_dict())
            if waited >= PATIENCE:
                break
    network.load_state_dict(weights)

    @torch.inference_mode()
    def probe(values: Array) -> Array:
        normal: Array = network(torch.from_numpy((values - mean) / std).float()).numpy()
        read: Array = normal * target_std + target_mean
        return read

    return probe


def fit(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    batch: int,
    rate: float,
) -> Iterator[int]:
    """Train a network with Adam, and yield after each epoch; the caller may stop early."""
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for epoch in range(epochs):
        for rows in torch.split(torch.randperm(len(inputs)), batch):
            optimiser.zero_grad()
            error = loss(network(inputs[rows]), targets[rows])
            error.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        yield epoch


def _scale(values: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column; 1 for the latter of a constant one."""
    mean, std = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    return mean, np.where(std > 1e-9 * (np.abs(mean) + 1e-9), std, 1.0)

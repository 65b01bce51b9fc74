# SPDX-License-Identifier: Apache-2.0
"""Looks at a model on held-out transitions: does it predict, and has its latent collapsed."""

from __future__ import annotations

import math

from smwm_ros.core.interfaces import Obs, Window
from smwm_ros.core.model import Smwm
import torch
from torch import nn, Tensor

MIN_STD = 0.01  # of a latent that still says something
MIN_INVERSE_R2 = 0.1


@torch.inference_mode()
def held_out(model: Smwm, batch: Window, settled: bool) -> dict[str, float]:
    """
    Measure one batch; the model is left in the mode it was in.

    While the weights move fast, the running statistics of BatchNorm lag behind them, and a sound
    model looks broken. Until it has settled, the statistics of the batch itself are used.
    """
    training = model.training
    model.eval()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    if not settled:
        for norm in norms:
            norm.train()
            norm.momentum = 0.0  # use the batch's statistics, and keep none of them
    terms = model.losses(batch)
    # The first step of each window: figures of one model step, whatever the windows are.
    obs, next_obs = (Obs(*(part[step] for part in batch.obs)) for step in (0, 1))
    action = batch.action[0]
    z, z_next = model.encode(obs), model.encode(next_obs)
    forward = (model.predict(z, action) - z_next).square().mean()
    inverse = (model.infer(z, z_next) - action).square().mean()
    spread = action.var(dim=0, unbiased=False).mean()
    model.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return {
        **{f'val_{name}': float(term) for name, term in terms.items()},
        # 1 is no better than to say that nothing moves, 0 is perfect
        'forward_over_copy': float(forward / (z - z_next).square().mean()),
        'inverse_r2': float(1 - inverse / spread),
        'latent_std': float(z.std(dim=0).mean()),
        'effective_rank': effective_rank(z),
    }


def effective_rank(z: Tensor) -> float:
    """Return exp(entropy) of the normalised eigenvalues of the covariance of z (n, D)."""
    eigenvalues = torch.linalg.svdvals((z - z.mean(dim=0)).double()).square()
    share = eigenvalues / eigenvalues.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return math.exp(-float(torch.xlogy(share, share).sum()))


def collapse(measures: dict[str, float]) -> str | None:
    """Say in plain words that the latent collapsed, or return None."""
    if measures['latent_std'] < MIN_STD:
        what = f'all images look the same to it (latent std {measures["latent_std"]:.4f})'
    elif measures['inverse_r2'] < MIN_INVERSE_R2:
        what = f'it does not show what the robot did (inverse R2 {measures["inverse_r2"]:.2f})'
    else:
        return None
    return f'the latent has collapsed: {what}; raise model.inverse_weight, or add data'

# SPDX-License-Identifier: Apache-2.0
"""Measure a model on held-out windows: prediction error, inverse error, collapse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import math

from smwm_ros.interfaces import Window
from smwm_ros.model.world_model import Smwm
import torch
from torch import nn, Tensor

MIN_STD = 0.01  # of a latent that has not collapsed
MIN_INVERSE_R2 = 0.1
OVERFIT_R2 = 0.5  # least inverse R2 on training images at which a model counts as overfitted
TINY = torch.finfo(torch.float32).tiny


@torch.inference_mode()
def held_out(model: Smwm, batch: Window, settled: bool) -> dict[str, float]:
    """
    Return measures of one batch; the mode of the model is restored.

    While weights change fast, the running statistics of BatchNorm lag behind, and a sound model
    looks broken. Unless `settled`, the statistics of the batch itself are used. Only `misfit`, by
    which the best checkpoint is chosen, is always that of the deployed model: forward error as a
    share of the copy baseline, plus the share of the actions' variance that h does not explain.
    """
    training = model.training
    model.eval()
    deployed = found = measure(model, batch)
    if not settled:
        with _statistics_of_the_batch(model):
            found = measure(model, batch)
    model.train(training)
    return {**found, 'misfit': deployed['forward_over_copy'] + 1 - deployed['inverse_r2']}


def measure(model: Smwm, batch: Window) -> dict[str, float]:
    """Return the loss terms, and measures of one model step that are comparable between runs."""
    frames = model.latents(batch)
    terms = model.terms(frames, batch)
    # The first step of each window, whatever their length.
    z, z_next, action = frames[0], frames[1], batch.action[0]
    forward = (model.predict(z, action) - z_next).square().mean()
    inverse = (model.infer(z, z_next) - action).square().mean()
    measures = {
        **{f'val_{name}': float(term) for name, term in terms.items()},
        # 1: no better than copying the latent (nothing moves); 0: perfect
        'forward_over_copy': float(forward / (z - z_next).square().mean().clamp(min=TINY)),
        'inverse_r2': float(1 - inverse / _variance(action)),
        'latent_std': float(z.std(dim=0).mean()),
        'effective_rank': effective_rank(z),
    }
    if model.state_head:
        state = batch.obs.state[1]
        known = model.state_head.normalise(state[state.isfinite().all(dim=-1)])
        error = model.state_head.error(z, z_next, state)
        # R2 is 0 where no state was measured.
        measures['state_r2'] = float(1 - error / _variance(known)) if len(known) else 0.0
    return measures


def effective_rank(z: Tensor) -> float:
    """Return exp(entropy) of the normalised eigenvalues of the covariance of z (n, D)."""
    eigenvalues = torch.linalg.svdvals((z - z.mean(dim=0)).double()).square()
    share = eigenvalues / eigenvalues.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return math.exp(-float(torch.xlogy(share, share).sum()))


def collapse_warning(measures: Mapping[str, float]) -> str | None:
    """Return a warning if the latent has collapsed or the model overfits, else None."""
    r2, known = measures['inverse_r2'], measures.get('train_inverse_r2', math.nan)
    if measures['latent_std'] < MIN_STD:
        what = f'all images share one latent (std {measures["latent_std"]:.4f})'
    elif r2 >= MIN_INVERSE_R2:
        return None
    elif known > OVERFIT_R2:
        return (
            f'the model overfits: it infers actions from training images (inverse R2 {known:.2f}) '
            f'but not from held-out images ({r2:.2f}); add data, above all more episodes, use '
            'fewer train.steps, or set train.shift and train.brightness'
        )
    else:
        what = f'the actions cannot be inferred from it (inverse R2 {r2:.2f})'
    return (
        f'the latent has collapsed: {what}; use model.kind smwm, raise model.inverse_weight or '
        'set model.inverse_target, or add data'
    )


def _variance(values: Tensor) -> Tensor:
    """Return the mean variance of the columns of (n, C)."""
    return values.var(dim=0, unbiased=False).mean().clamp(min=TINY)


@contextmanager
def _statistics_of_the_batch(model: nn.Module) -> Iterator[None]:
    """Make BatchNorm use the statistics of the batch, without updating the running ones."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    yield
    for norm in norms:
        norm.eval()
        norm.track_running_stats = True

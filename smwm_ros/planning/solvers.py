# SPDX-License-Identifier: Apache-2.0
"""
Solvers: how the elites of one iteration give mean and standard deviation of the next.

Samples whose cost is not finite are ignored. Where no sample has a finite cost, mean and standard
deviation do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from smwm_ros import config
import torch
from torch import Tensor

MOMENTUM = 0.1  # of icem: share of mean and standard deviation kept from the last iteration
FIRST_STEP = 0.3  # of the gradient descent [standard deviations of the data]


class Elites(NamedTuple):
    """The best samples, the best one first."""

    actions: Tensor  # (B, E, T, K*A)
    cost: Tensor  # (B, E); infinite for samples to ignore


class Fit(NamedTuple):
    """The distribution of the samples."""

    mean: Tensor  # (B, T, K*A)
    std: Tensor  # (B, T, K*A)


Solver: TypeAlias = Callable[[Elites, Fit, config.Planner], Fit]


def best(samples: Tensor, cost: Tensor, count: int) -> Elites:
    """Return the `count` samples of (B, N, T, K*A) with the lowest costs (B, N)."""
    cost = cost.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
    lowest, index = cost.topk(min(count, cost.shape[1]), largest=False)
    return Elites(torch.take_along_dim(samples, index[..., None, None], dim=1), lowest)


def better(best_so_far: Elites | None, elites: Elites) -> Elites:
    """Return the better one of the best elite and the best sample so far, (B, 1, T, K*A)."""
    now = Elites(elites.actions[:, :1], elites.cost[:, :1])
    if best_so_far is None:
        return now
    improved = now.cost < best_so_far.cost
    actions = torch.where(improved[..., None, None], now.actions, best_so_far.actions)
    return Elites(actions, torch.where(improved, now.cost, best_so_far.cost))


def cem(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return mean and unbiased standard deviation of the elites."""
    finite = elites.cost.isfinite()[..., None, None]  # (B, E, 1, 1)
    count = finite.sum(dim=1)
    mean = (elites.actions * finite).sum(dim=1) / count.clamp(min=1)
    squares = ((elites.actions - mean.unsqueeze(1)) * finite).square().sum(dim=1)
    std = (squares / (count - 1).clamp(min=1)).sqrt().clamp(min=settings.min_std)
    alive = count > 0
    return Fit(torch.where(alive, mean, last.mean), torch.where(alive, std, last.std))


def icem(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return the distribution of cem, mixed with the last one by planner.momentum."""
    found = cem(elites, last, settings)
    return Fit(*(torch.lerp(new, old, MOMENTUM) for new, old in zip(found, last, strict=True)))


def mppi(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return mean and standard deviation of the elites, weighted by exp(-cost)."""
    finite = elites.cost.isfinite()
    excess = torch.where(finite, elites.cost - elites.cost[:, :1], 0.0)
    # Costs have no unit, so the mean excess over the best elite serves as one.
    typical = excess.sum(dim=1, keepdim=True) / finite.sum(dim=1, keepdim=True).clamp(min=1)
    weight = torch.exp(-excess / (settings.temperature * typical).clamp(min=1e-12)) * finite
    weight = (weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12))[..., None, None]
    mean = (weight * elites.actions).sum(dim=1)
    squares = (weight * (elites.actions - mean.unsqueeze(1)).square()).sum(dim=1)
    std = squares.sqrt().clamp(min=settings.min_std)
    alive = finite.any(dim=1)[:, None, None]
    return Fit(torch.where(alive, mean, last.mean), torch.where(alive, std, last.std))


def sampling(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return the best sample as the mean, and the last standard deviation."""
    alive = elites.cost[:, 0].isfinite()[:, None, None]
    return Fit(torch.where(alive, elites.actions[:, 0], last.mean), last.std)


SOLVERS: dict[str, Solver] = {'cem': cem, 'icem': icem, 'mppi': mppi, 'sampling': sampling}


def descend(
    score: Callable[[Tensor], Tensor],  # (B, E, T, K*A) -> (B, E)
    bound: Callable[[Tensor], Tensor],
    elites: Elites,
    steps: int,
    size: float = FIRST_STEP,
) -> Elites:
    """
    Move each elite down the gradient of its cost; reject steps that do not lower the cost.

    A step has a root mean square of `size` standard deviations of the data, halved after each
    rejected step.
    """
    actions, cost = elites
    length = torch.full_like(cost, size)[..., None, None]
    for _ in range(steps):
        tried = bound(actions - length * _direction(score, actions))
        found = score(tried)
        better = found < cost  # False for nan
        actions = torch.where(better[..., None, None], tried, actions)
        cost = torch.where(better, found, cost)
        length = torch.where(better[..., None, None], length, length / 2)
    return best(actions, cost, actions.shape[1])


def _direction(score: Callable[[Tensor], Tensor], actions: Tensor) -> Tensor:
    """Return the gradient of the cost, scaled to root mean square 1."""
    with torch.inference_mode(False), torch.enable_grad():
        point = actions.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score(point).sum(), point)
    scale = gradient.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return gradient / scale.clamp(min=torch.finfo(torch.float32).tiny)

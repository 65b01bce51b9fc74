# SPDX-License-Identifier: Apache-2.0
"""
How the samples of one iteration become the mean and the spread of the next.

Each solver is a function of the best samples. Samples whose cost is no number are never followed;
where there is no other, mean and spread stay as they were.
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
    cost: Tensor  # (B, E); infinite for what must not count


class Fit(NamedTuple):
    """What samples are drawn around."""

    mean: Tensor  # (B, T, K*A)
    std: Tensor  # (B, T, K*A)


Solver: TypeAlias = Callable[[Elites, Fit, config.Planner], Fit]


def best(samples: Tensor, cost: Tensor, count: int) -> Elites:
    """Choose the best of (B, N, T, K*A) by their cost (B, N)."""
    cost = cost.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
    lowest, index = cost.topk(min(count, cost.shape[1]), largest=False)
    return Elites(torch.take_along_dim(samples, index[..., None, None], dim=1), lowest)


def better(champion: Elites | None, elites: Elites) -> Elites:
    """Return the best sample of now and before, (B, 1, T, K*A)."""
    now = Elites(elites.actions[:, :1], elites.cost[:, :1])
    if champion is None:
        return now
    improved = now.cost < champion.cost
    actions = torch.where(improved[..., None, None], now.actions, champion.actions)
    return Elites(actions, torch.where(improved, now.cost, champion.cost))


def cem(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return mean and unbiased standard deviation of the elites."""
    finite = elites.cost.isfinite()[..., None, None]  # (B, E, 1, 1): elites that may count
    count = finite.sum(dim=1)
    mean = (elites.actions * finite).sum(dim=1) / count.clamp(min=1)
    squares = ((elites.actions - mean.unsqueeze(1)) * finite).square().sum(dim=1)
    std = (squares / (count - 1).clamp(min=1)).sqrt().clamp(min=settings.min_std)
    alive = count > 0
    return Fit(torch.where(alive, mean, last.mean), torch.where(alive, std, last.std))


def icem(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return the same, but move only part of the way."""
    found = cem(elites, last, settings)
    return Fit(*(torch.lerp(new, old, MOMENTUM) for new, old in zip(found, last, strict=True)))


def mppi(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return mean and standard deviation of the elites, each weighted by how good it is."""
    finite = elites.cost.isfinite()
    excess = torch.where(finite, elites.cost - elites.cost[:, :1], 0.0)
    # Costs have no unit; what is typical among the elites counts as one.
    typical = excess.sum(dim=1, keepdim=True) / finite.sum(dim=1, keepdim=True).clamp(min=1)
    weight = torch.exp(-excess / (settings.temperature * typical).clamp(min=1e-12)) * finite
    weight = (weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12))[..., None, None]
    mean = (weight * elites.actions).sum(dim=1)
    squares = (weight * (elites.actions - mean.unsqueeze(1)).square()).sum(dim=1)
    std = squares.sqrt().clamp(min=settings.min_std)
    alive = finite.any(dim=1)[:, None, None]
    return Fit(torch.where(alive, mean, last.mean), torch.where(alive, std, last.std))


def sampling(elites: Elites, last: Fit, settings: config.Planner) -> Fit:
    """Return the best sample, and the spread as it was."""
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
    Move each elite down the gradient of its cost; a step that does not help is not taken.

    Steps are of `size` standard deviations of the data, root mean square, and half as long after
    each that did not help.
    """
    actions, cost = elites
    length = torch.full_like(cost, size)[..., None, None]
    for _ in range(steps):
        tried = bound(actions - length * _direction(score, actions))
        found = score(tried)
        better = found < cost  # never where it is no number
        actions = torch.where(better[..., None, None], tried, actions)
        cost = torch.where(better, found, cost)
        length = torch.where(better[..., None, None], length, length / 2)
    return best(actions, cost, actions.shape[1])


def _direction(score: Callable[[Tensor], Tensor], actions: Tensor) -> Tensor:
    """Return the gradient of the cost, of root mean square 1."""
    with torch.inference_mode(False), torch.enable_grad():
        point = actions.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score(point).sum(), point)
    scale = gradient.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return gradient / scale.clamp(min=torch.finfo(torch.float32).tiny)

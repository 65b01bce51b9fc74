# SPDX-License-Identifier: Apache-2.0
"""
The cost of an action sequence: its distance to the goal, and further weighted terms.

Every term has a name. A plan holds the share of each term in its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from smwm_ros import config
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import WorldModel
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.support import Support
import torch
from torch import Tensor

StateReader: TypeAlias = Callable[[Tensor], Tensor]  # (..., D) -> (..., V) state fields
Time: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (..., D), (..., D) -> (...,) model steps
Heads: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (..., D), (..., K*A) -> (E, ..., D)


class Costs:
    """Scores action sequences by the latents that a model predicts for them."""

    def __init__(
        self,
        model: WorldModel,
        settings: config.Planner,
        bounds: Bounds,
        rest: Tensor | None = None,  # (A,) the raw action whose effort is 0, normalised
        keep_out: Tensor | None = None,  # (M, D) latents of places to avoid
        heads: Heads | None = None,  # the ensemble of forward heads
        read_focus: StateReader | None = None,  # reads the fields of planner.focus
        time: Time | None = None,  # the time to go; None: the latent distance instead
        support: Support | None = None,  # for planner.novel_weight
    ) -> None:
        if settings.cost == 'time' and settings.focus:
            raise ConfigError('planner.focus: needs a latent distance, not planner.cost=time')
        if settings.doubt_weight and heads is None:
            raise ConfigError(
                'planner.doubt_weight: the model has no ensemble of heads; train it with '
                'model.heads=5'
            )
        if settings.novel_weight and support is None:
            raise ValueError('planner.novel_weight: expected the support in guides')
        self._model, self._settings, self._bounds = model, settings, bounds
        self._support = support
        self.latent_size = model.latent  # D
        self._keep_out = keep_out
        self._heads, self._read_focus, self._time = heads, read_focus, time
        fields = bounds.width // bounds.block
        # Effort and change are measured in half ranges of the limits.
        self._half = (bounds.high - bounds.low)[:fields].clamp(min=1e-6) / 2
        self._rest = torch.zeros_like(self._half) if rest is None else rest

    def __call__(
        self,
        z: Tensor,
        goal: Tensor,
        samples: Tensor,
        before: Tensor | None = None,
        metric: Tensor | None = None,
    ) -> Tensor:
        """Return the costs (B, N) of action sequences (B, N, T, K*A) from z (B, W) to goal."""
        return sum_of(self.terms(z, goal, samples, before, metric))

    def terms(
        self,
        z: Tensor,
        goal: Tensor,
        samples: Tensor,
        before: Tensor | None = None,
        metric: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """
        Return the weighted terms of the cost, (B, N) each.

        `before` (B, A) is the last executed raw action, None where it is unknown. The distance
        from a goal is |(z - goal) @ metric| with `metric` (B, D, D), None for the plain distance.
        """
        settings = self._settings
        start = z.unsqueeze(1).expand(-1, samples.shape[1], -1)
        future = self._model.rollout(start, samples)  # (B, N, T, D)
        found = {'goal': self._goal(future, goal, metric)}
        if settings.effort_weight:
            found['effort'] = settings.effort_weight * self._effort(samples)
        if settings.change_weight:
            found['change'] = settings.change_weight * self._change(samples, before)
        if settings.doubt_weight:
            found['doubt'] = settings.doubt_weight * self._doubt(start, future, samples)
        if settings.novel_weight and self._support is not None:
            found['novel'] = settings.novel_weight * self._support.excess(future).sum(dim=-1)
        if self._keep_out is not None:
            found['keep_out'] = settings.keep_out_weight * self._nearness(future, self._keep_out)
        return found

    def _goal(self, future: Tensor, goal: Tensor, metric: Tensor | None) -> Tensor:
        """Return the cost that planner.cost selects."""
        kind = self._settings.cost
        if kind == 'time' and self._time:
            return self._time(future, goal[:, None, None].expand_as(future)).sum(dim=-1)
        away = future - goal[:, None, None]
        if metric is not None:
            away = away @ metric.unsqueeze(1)
        squared = away.square().sum(dim=-1)  # (B, N, T)
        if self._read_focus is not None:
            apart = self._read_focus(future) - self._read_focus(goal)[:, None, None]
            squared = squared + self._settings.focus_weight * apart.square().sum(dim=-1)
        if kind == 'last':
            return squared[..., -1]
        if kind in ('sum', 'time'):
            return squared.sum(dim=-1)
        if kind == 'min':
            return squared.amin(dim=-1)
        distance = squared.sqrt()
        # Without the second term a plan may wait. With a large weight, detours around a wall, or
        # around a block to its other side, cost too much.
        return distance.amin(dim=-1) + self._settings.time_weight * distance.sum(dim=-1)

    def _effort(self, samples: Tensor) -> Tensor:
        """Return the mean square of the raw actions; 1 is half the range away from `rest`."""
        raw = (self._bounds.raw(samples) - self._rest) / self._half
        return raw.square().mean(dim=(-2, -1))

    def _change(self, samples: Tensor, before: Tensor | None) -> Tensor:
        """Return the mean square of the changes between successive raw actions [half ranges]."""
        raw = self._bounds.raw(samples)
        first = (
            raw[..., :1, :] if before is None else before[:, None, None].expand_as(raw[:, :, :1])
        )
        step = torch.diff(raw, dim=-2, prepend=first) / self._half
        return step.square().mean(dim=(-2, -1))

    def _doubt(self, start: Tensor, future: Tensor, samples: Tensor) -> Tensor:
        """Return the variance over the heads of the latent of each step, summed over the steps."""
        assert self._heads is not None
        here = start[..., : future.shape[-1]].unsqueeze(2)
        place = torch.cat([here, future[:, :, :-1]], dim=2)
        return self._heads(place, samples).var(dim=0).sum(dim=(-2, -1))

    def _nearness(self, future: Tensor, places: Tensor) -> Tensor:
        """Return the nearness to the nearest place to avoid, summed; 1 for each step at it."""
        away = torch.cdist(future.flatten(0, 2), places).amin(dim=-1).view(future.shape[:3])
        return torch.exp(-0.5 * (away / self._settings.keep_out_radius).square()).sum(dim=-1)


def sum_of(terms: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the terms."""
    first, *others = terms.values()
    return sum(others, first)

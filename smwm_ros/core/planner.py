# SPDX-License-Identifier: Apache-2.0
"""
Planning in latent space with the cross-entropy method (CEM).

Draw action sequences around a mean, imagine where each leads, move the mean to the best of them,
repeat. All actions here are normalised; every sequence that is tried, and the one that is
returned, lies inside the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

from smwm_ros import config
from smwm_ros.core.interfaces import Plan, Planner, Plans, WorldModel
import torch
from torch import Tensor

# With cost=nearest, what each step away from the goal counts beside the nearest approach. Without
# it there is no reason to go at once; with much of it the way round a wall looks too long.
HURRY = 0.1


def rollout(model: WorldModel, z: Tensor, actions: Tensor) -> Tensor:
    """Imagine T steps: (..., D), (..., T, K*A) -> (..., T, D)."""
    own = getattr(model, 'rollout', None)
    if own is not None:  # such a model may remember more than its last latent
        imagined: Tensor = own(z, actions)
        return imagined
    steps = []
    for action in actions.unbind(dim=-2):
        z = model.predict(z, action)
        steps.append(z)
    return torch.stack(steps, dim=-2)


class CemPlanner:
    """CEM with bounds, warm start and a seed."""

    def __init__(
        self,
        model: WorldModel,
        settings: config.Planner,
        low: Tensor,  # (K*A,) normalised
        high: Tensor,  # (K*A,)
        block: int = 1,  # K, how many raw actions make one model step
    ) -> None:
        if low.shape != high.shape or not bool((low <= high).all()):
            raise ValueError(f'bounds: expected low <= high of one size, found {low} and {high}')
        self.settings = settings
        self._model = model
        self._low, self._high = low, high
        self._block = block
        self._generator = torch.Generator(low.device)
        self._mean: Tensor | None = None  # (B, T, K*A) of the last plan
        self.reset()

    def reset(self) -> None:
        """Forget the last plan and begin the noise anew, so that an episode can be repeated."""
        self._mean = None
        self._generator.manual_seed(self.settings.seed)

    def shift(self, raw_steps: int) -> None:
        """Move the last plan on by the raw actions that were executed since."""
        if self._mean is None or raw_steps == 0:
            return
        problems, horizon, width = self._mean.shape
        raw = self._mean.reshape(problems, horizon * self._block, width // self._block)
        if raw_steps >= raw.shape[1]:
            self._mean = None
            return
        last = raw[:, -1:].expand(-1, raw_steps, -1)
        raw = torch.cat([raw[:, raw_steps:], last], dim=1)
        self._mean = raw.reshape(problems, horizon, width)

    def keep(self, problems: Sequence[int]) -> None:
        """Go on with some of the problems of the last plan, in this order; the others are over."""
        if self._mean is not None:
            self._mean = self._mean[list(problems)]

    def plan(self, z: Tensor, goal: Tensor) -> Plan:
        """Return actions (T, K*A) that lead from z (D,) to goal (D,)."""
        plans = self.plan_many(z.unsqueeze(0), goal.unsqueeze(0))
        return Plan(plans.actions[0], float(plans.cost[0]), float(plans.spread[0]))

    @torch.inference_mode()
    def plan_many(self, z: Tensor, goal: Tensor) -> Plans:
        """Solve B problems at once, each as if it were alone: z (B, D), goal (B, D)."""
        if z.shape != goal.shape or z.ndim != 2:
            raise ValueError(
                'expected as many latents as goals, all of one width, found z of '
                f'{tuple(z.shape)} and goals of {tuple(goal.shape)}'
            )
        settings = self.settings
        mean = self._first_mean(len(z))
        std = torch.full_like(mean, settings.init_std)
        shape = (settings.samples, settings.horizon, len(self._low))
        for _ in range(settings.iterations):
            # The same noise for every problem: a batch then plans what each would plan alone.
            noise = self._noise(shape)
            noise[0] = 0.0  # sample 0 is the mean itself
            samples = mean.unsqueeze(1) + std.unsqueeze(1) * noise  # (B, N, T, K*A)
            samples = self._bounded(samples)
            mean, std = self._refit(samples, self.cost(z, goal, samples), mean, std)
        cost = self.cost(z, goal, mean.unsqueeze(1)).squeeze(1)
        self._mean = mean
        return Plans(mean, cost, std.mean(dim=(1, 2)))

    def cost(self, z: Tensor, goal: Tensor, samples: Tensor) -> Tensor:
        """Score action sequences (B, N, T, K*A) by how far from the goal they keep: (B, N)."""
        start = z.unsqueeze(1).expand(-1, samples.shape[1], -1)
        future = rollout(self._model, start, samples)  # (B, N, T, D)
        squared = (future - goal[:, None, None]).square().sum(dim=-1)  # (B, N, T)
        if self.settings.cost == 'last':
            return squared[..., -1]
        if self.settings.cost == 'sum':
            return squared.sum(dim=-1)
        distance = squared.sqrt()
        return distance.amin(dim=-1) + HURRY * distance.sum(dim=-1)

    def _first_mean(self, problems: int) -> Tensor:
        """Begin from the shifted last plan, or from the mean action of the data."""
        if self.settings.warm_start and self._mean is not None and len(self._mean) == problems:
            return self._mean
        return self._bounded(self._low.new_zeros(problems, self.settings.horizon, len(self._low)))

    def _noise(self, shape: tuple[int, int, int]) -> Tensor:
        """Draw (N, T, K*A) of variance 1, a share of it the same for all K of a model step."""
        device, share = self._low.device, self.settings.smooth
        noise = torch.randn(shape, generator=self._generator, device=device)
        if not share:
            return noise
        samples, steps, width = shape
        one = (samples, steps, 1, width // self._block)
        held = torch.randn(one, generator=self._generator, device=device)
        held = held.expand(-1, -1, self._block, -1).reshape(shape)
        return math.sqrt(1 - share) * noise + math.sqrt(share) * held

    def _bounded(self, actions: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(actions, self._low), self._high)

    def _refit(
        self, samples: Tensor, cost: Tensor, mean: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mean and unbiased standard deviation of the elites, (B, T, K*A) each."""
        cost = cost.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
        best, index = cost.topk(min(self.settings.elites, cost.shape[1]), largest=False)
        elites = torch.take_along_dim(samples, index[..., None, None], dim=1)
        if self.settings.kind == 'sampling':
            alive = best[:, 0].isfinite()[:, None, None]
            return torch.where(alive, elites[:, 0], mean), std
        finite = best.isfinite()[..., None, None]  # (B, E, 1, 1): elites that may count
        count = finite.sum(dim=1)
        new_mean = (elites * finite).sum(dim=1) / count.clamp(min=1)
        squares = ((elites - new_mean.unsqueeze(1)) * finite).square().sum(dim=1)
        new_std = (squares / (count - 1).clamp(min=1)).sqrt().clamp(min=self.settings.min_std)
        alive = count > 0  # where nothing had a finite cost, stay where we were
        # A mean of equal numbers may round to just outside of them.
        return torch.where(alive, self._bounded(new_mean), mean), torch.where(alive, new_std, std)


def make_planner(
    model: WorldModel,
    settings: config.Planner,
    low: Tensor,  # (K*A,) normalised
    high: Tensor,  # (K*A,)
    block: int = 1,  # K, how many raw actions make one model step
) -> Planner:
    """Make the planner that the settings name."""
    return CemPlanner(model, settings, low, high, block)

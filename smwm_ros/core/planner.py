# SPDX-License-Identifier: Apache-2.0
"""
Planning in latent space: draw action sequences, imagine where each leads, draw again, better.

All actions here are normalised; every sequence that is tried, and the one that is returned, lies
inside the limits of the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
import time

from smwm_ros import config
from smwm_ros.core.bounds import Bounds
from smwm_ros.core.costs import Costs, Heads, sum_of, View
from smwm_ros.core.guides import Guides
from smwm_ros.core.interfaces import Plan, Planner, Plans, WorldModel
from smwm_ros.core.noise import Noise
from smwm_ros.core.proposals import AmortisedPlanner, Propose
from smwm_ros.core.roadmap import Mover, RoadmapPlanner
from smwm_ros.core.solvers import best, better, descend, Elites, Fit, SOLVERS
import torch
from torch import Tensor

NO_GUIDES = Guides()


class CancelledError(Exception):
    """A search was ended from outside; there is no plan."""


class SearchPlanner:
    """Searches in rounds: by the cross-entropy method, or by one of its cousins."""

    def __init__(
        self,
        settings: config.Planner,
        bounds: Bounds,
        costs: Costs,
        clock: Callable[[], float] = time.perf_counter,  # [s]
        propose: Propose | None = None,
    ) -> None:
        self.settings, self._bounds, self._costs = settings, bounds, costs
        self._propose = propose
        self._solver = SOLVERS[settings.kind]
        # Of icem: elites that are tried again in the next iteration, and by the next plan.
        self._kept = round(settings.kept * settings.elites) if settings.kind == 'icem' else 0
        # A mean of proposals that differ may be worse than each of them.
        self._tracks = settings.kind == 'icem' or settings.budget_ms > 0 or propose is not None
        self._shape = (settings.samples, settings.horizon, bounds.width)
        colour = settings.colour if settings.kind == 'icem' else 0.0
        device = bounds.low.device
        self._noise = Noise(self._shape, bounds.block, settings.smooth, colour, device)
        self._clock = clock
        self._ending: float | None = None  # how long the end of the last plan took [s]
        self.reset()

    def cancel(self) -> None:
        """End the search that runs with CancelledError, or the next one; from any thread."""
        self._cancelled = True

    def reset(self) -> None:
        """Forget the last plan and begin the noise anew, so that an episode can be repeated."""
        self._last: Tensor | None = None  # (B, 1+E, T, K*A): the last plans, and elites kept
        self._before: Tensor | None = None  # (B, A): the raw action executed last
        self._past: Tensor | None = None  # (B, n, A): what every plan begins with
        self._noise.seed(self.settings.seed)
        self._cancelled = False

    def shift(self, raw_steps: int) -> None:
        """Move the last plan on by the raw actions that were executed since."""
        if self._last is None or raw_steps == 0:
            return
        raw = self._bounds.raw(self._last)  # (B, 1+E, T*K, A)
        length = raw.shape[2]
        self._before = raw[:, 0, min(raw_steps, length) - 1]
        if raw_steps >= length:
            self._last = None
            return
        end = raw[:, :, -1:].expand(-1, -1, raw_steps, -1)
        raw = torch.cat([raw[:, :, raw_steps:], end], dim=2)
        self._last = raw.reshape(self._last.shape)

    def keep(self, problems: Sequence[int]) -> None:
        """Go on with some of the problems of the last plan, in this order; the others are over."""
        if self._last is not None:
            self._last = self._last[list(problems)]
        if self._before is not None:
            self._before = self._before[list(problems)]

    def plan(self, z: Tensor, goal: Tensor) -> Plan:
        """Return actions (T, K*A) that lead from z (D,) to goal (D,)."""
        if not bool(goal.isfinite().all()):
            raise ValueError('goal: expected finite numbers')
        plans = self.plan_many(z.unsqueeze(0), goal.unsqueeze(0))
        return Plan(plans.actions[0], float(plans.cost[0]), float(plans.spread[0]))

    def plan_many(self, z: Tensor, goal: Tensor, past: Tensor | None = None) -> Plans:
        """
        Solve B problems at once, each as if it were alone: z (B, D), goal (B, D).

        Every plan begins with the raw actions `past` (B, n, A), which were sent already.
        """
        if z.shape != goal.shape or z.ndim != 2:
            raise ValueError(
                'expected as many latents as goals, all of one width, found z of '
                f'{tuple(z.shape)} and goals of {tuple(goal.shape)}'
            )
        if self._costs.latent not in (None, z.shape[1]):
            raise ValueError(
                f'expected latents of width {self._costs.latent}, as the model has them, found '
                f'{z.shape[1]}'
            )
        length = self.settings.horizon * self._bounds.block  # raw actions in a plan
        if past is not None and not (len(past) == len(z) and 0 < past.shape[1] < length):
            raise ValueError(
                f'past: expected fewer than {length} raw actions for each of {len(z)} problems, '
                f'found {tuple(past.shape)}'
            )
        if self._last is not None and len(self._last) != len(z):
            self._last = self._before = None
        self._past = past
        refines = self.settings.refine > 0
        with torch.no_grad(), torch.inference_mode(not refines):
            if refines:  # gradients want tensors that were not made in inference mode
                z, goal = z.clone(), goal.clone()
            return self._search(z, goal)

    def _search(self, z: Tensor, goal: Tensor) -> Plans:
        """Go through the iterations, as many as there is time for."""
        settings = self.settings
        begun = self._time()
        fit, seeds = self._first(z, goal)
        champion: Elites | None = None  # the best sample so far

        def score(samples: Tensor) -> Tensor:
            if self._cancelled:
                raise CancelledError
            return self._costs(z, goal, samples, self._before)

        for _ in range(settings.iterations):
            round_begun = self._time()
            samples = self._samples(fit, seeds)
            elites = best(samples, score(samples), settings.elites)
            if settings.refine:
                elites = descend(score, self._bound, elites, settings.refine, settings.refine_step)
            mean, std = self._solver(elites, fit, settings)
            # A mean of equal numbers may round to just outside of them.
            fit = Fit(self._bound(mean.unsqueeze(1)).squeeze(1), std)
            seeds = elites.actions[:, : self._kept] if self._kept else None
            if self._tracks:
                champion = better(champion, elites)
            if not self._has_time(begun, round_begun):
                break
        return self._finish(z, goal, fit, champion, seeds)

    def _finish(
        self, z: Tensor, goal: Tensor, fit: Fit, champion: Elites | None, seeds: Tensor | None
    ) -> Plans:
        """Return the mean, or the best sample where that is better; remember it."""
        begun = self._time()
        plans = fit.mean.unsqueeze(1)  # (B, 1 or 2, T, K*A)
        if champion is not None:
            plans = torch.cat([plans, champion.actions], dim=1)
        terms = self._costs.terms(z, goal, plans, self._before)
        cost = sum_of(terms)
        if champion is None:
            actions = fit.mean
        else:
            index = cost.nan_to_num(nan=torch.inf).argmin(dim=1, keepdim=True)
            actions = torch.take_along_dim(plans, index[..., None, None], dim=1).squeeze(1)
            terms = {name: term.gather(1, index) for name, term in terms.items()}
            cost = cost.gather(1, index)
        self._last = actions.unsqueeze(1)
        if seeds is not None:
            self._last = torch.cat([self._last, seeds], dim=1)
        self._ending = self._time() - begun
        shares = {name: term.squeeze(1) for name, term in terms.items()}
        return Plans(actions, cost.squeeze(1), fit.std.mean(dim=(1, 2)), shares)

    def _first(self, z: Tensor, goal: Tensor) -> tuple[Fit, Tensor | None]:
        """Begin from the shifted last plan, or from the mean action of the data."""
        settings, bounds, last = self.settings, self._bounds, self._last
        seeds = None
        if settings.warm_start and last is not None:
            mean = last[:, 0]
            seeds = last[:, 1:] if last.shape[1] > 1 else None
        else:
            still = bounds.low.new_zeros(len(z), 1, settings.horizon, bounds.width)
            mean = self._bound(still).squeeze(1)
        if self._propose is not None:
            ideas = self._propose(z, goal)
            seeds = ideas if seeds is None else torch.cat([ideas, seeds], dim=1)
            seeds = seeds[:, : settings.samples - 1]  # the mean is always tried
        return Fit(mean, torch.full_like(mean, settings.init_std)), seeds

    def _samples(self, fit: Fit, seeds: Tensor | None) -> Tensor:
        """Draw (B, N, T, K*A); the first sample is the mean, the last ones are the seeds."""
        # The same noise for every problem: a batch then plans what each would plan alone.
        noise = self._noise.draw()
        noise[0] = 0.0
        samples = fit.mean.unsqueeze(1) + fit.std.unsqueeze(1) * noise
        if seeds is not None:
            samples[:, -seeds.shape[1] :] = seeds
        return self._bound(samples)

    def _bound(self, samples: Tensor) -> Tensor:
        return self._bounds.bound(samples, self._before, self._past)

    def _time(self) -> float:
        """Read the clock, if anybody waits [s]."""
        if not self.settings.budget_ms:
            return 0.0
        if self._bounds.low.is_cuda:
            torch.cuda.synchronize()
        return self._clock()

    def _has_time(self, begun: float, round_begun: float) -> bool:
        """Say whether a round like the last one, and the end, fit into the budget."""
        if not self.settings.budget_ms:
            return True
        now = self._time()
        needed = now - round_begun
        needed += needed if self._ending is None else self._ending
        return now + needed <= begun + 1e-3 * self.settings.budget_ms


def make_planner(
    model: WorldModel,
    settings: config.Planner,
    low: Tensor,  # (K*A,) normalised
    high: Tensor,  # (K*A,)
    block: int = 1,  # K, how many raw actions make one model step
    step: Tensor | None = None,  # (A,) largest change from one raw action to the next
    rest: Tensor | None = None,  # (A,) the raw action that is no effort
    keep_out: Tensor | None = None,  # (M, D) latents of places to avoid
    heads: Heads | None = None,
    clock: Callable[[], float] = time.perf_counter,
    guides: Guides = NO_GUIDES,
    view: View | None = None,  # what of the goal is wanted first of all
) -> Planner:
    """Make the planner that the settings name."""
    bounds = Bounds(low, high, block, step)
    costs = Costs(model, settings, bounds, rest, keep_out, heads, view)
    roadmap, policy = guides.to(low.device)
    if settings.kind == 'roadmap':
        if roadmap is None:
            raise ValueError('planner.kind=roadmap: expected a roadmap in guides')
        settings = replace(settings, kind=settings.legs)
    else:
        roadmap = None
    propose = partial(policy.propose, model, horizon=settings.horizon) if policy else None
    planner: Planner
    if settings.kind != 'amortised':
        planner = SearchPlanner(settings, bounds, costs, clock, propose)
    elif propose is None:
        raise ValueError('planner.kind=amortised: expected a policy in guides')
    else:
        planner = AmortisedPlanner(propose, bounds, costs)
    return RoadmapPlanner(planner, roadmap, Mover(model, low, high)) if roadmap else planner

# SPDX-License-Identifier: Apache-2.0
"""
A search for plans: draw action sequences, imagine where each leads, draw again, better.

It remembers nothing, and without a limit of time it never looks at a number that it computes, so
that a GPU can do all of it without waiting for Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import NamedTuple

from smwm_ros import config
from smwm_ros.interfaces import Plans
from smwm_ros.model.compiled import fused
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs, sum_of
from smwm_ros.planning.noise import Noise
from smwm_ros.planning.policy import Propose
from smwm_ros.planning.solvers import best, better, descend, Elites, Fit, SOLVERS
import torch
from torch import Tensor


class CancelledError(Exception):
    """A search was ended from outside; there is no plan."""


class Before(NamedTuple):
    """What came before a search, as far as anything did."""

    plans: Tensor | None  # (B, 1+E, T, K*A): warm start, the last plans moved on and elites kept
    action: Tensor | None  # (B, A): the raw action executed last
    past: Tensor | None  # (B, n, A): what every plan begins with


class Found(NamedTuple):
    """What a search found."""

    plans: Plans
    kept: Tensor  # (B, 1+E, T, K*A): the plans, and elites to try again


class Search:
    """Searches in rounds: by the cross-entropy method, or by one of its cousins."""

    def __init__(
        self,
        settings: config.Planner,
        bounds: Bounds,
        costs: Costs,
        clock: Callable[[], float] = time.perf_counter,  # [s]
        propose: Propose | None = None,
    ) -> None:
        self._settings, self._bounds, self._costs = settings, bounds, costs
        self._propose = propose
        self._solver = SOLVERS[settings.kind]
        # Of icem: elites that are tried again in the next iteration, and by the next plan.
        self._kept = round(settings.elite_keep * settings.elites) if settings.kind == 'icem' else 0
        # A mean of proposals that differ may be worse than each of them.
        self._tracks = settings.kind == 'icem' or settings.budget_ms > 0 or propose is not None
        shape = (settings.samples, settings.horizon, bounds.width)
        beta = settings.noise_beta if settings.kind == 'icem' else 0.0
        device = bounds.low.device
        self.noise = Noise(shape, bounds.block, settings.smooth, beta, device)
        self.cancelled = False
        self._clock = clock
        self._ending: float | None = None  # how long the end of the last search took [s]
        self._around, self._refit = fused(self._place, device), fused(self._follow, device)

    def __call__(self, z: Tensor, goal: Tensor, *before: Tensor | None) -> Found:
        """Go through as many iterations as there is time for, from z (B, D) to goal (B, D)."""
        settings, known = self._settings, Before(*before)
        begun = self._time()
        fit, seeds = self._first(z, goal, known)
        champion: Elites | None = None  # the best sample so far
        score = partial(self._score, z, goal, known)
        for _ in range(settings.iterations):
            round_begun = self._time()
            # The same noise for every problem: a batch then plans what each would plan alone.
            samples = self._around(self.noise.draw(), fit, seeds, known)
            elites = best(samples, score(samples), settings.elites)
            if settings.refine:
                bound = partial(self._bound, known=known)
                elites = descend(score, bound, elites, settings.refine)
            fit = self._refit(elites, fit, known)
            seeds = elites.actions[:, : self._kept] if self._kept else None
            if self._tracks:
                champion = better(champion, elites)
            if not self._has_time(begun, round_begun):
                break
        begun = self._time()
        found = self._choose(z, goal, known, fit, champion, seeds)
        self._ending = self._time() - begun
        return found

    def _choose(
        self,
        z: Tensor,
        goal: Tensor,
        known: Before,
        fit: Fit,
        champion: Elites | None,
        seeds: Tensor | None,
    ) -> Found:
        """Return the mean, or the best sample where that is better."""
        plans = fit.mean.unsqueeze(1)  # (B, 1 or 2, T, K*A)
        if champion is not None:
            plans = torch.cat([plans, champion.actions], dim=1)
        terms = self._costs.terms(z, goal, plans, known.action)
        cost = sum_of(terms)
        if champion is None:
            actions = fit.mean
        else:
            index = cost.nan_to_num(nan=torch.inf).argmin(dim=1, keepdim=True)
            actions = torch.take_along_dim(plans, index[..., None, None], dim=1).squeeze(1)
            terms = {name: term.gather(1, index) for name, term in terms.items()}
            cost = cost.gather(1, index)
        kept = actions.unsqueeze(1)
        if seeds is not None:
            kept = torch.cat([kept, seeds], dim=1)
        shares = {name: term.squeeze(1) for name, term in terms.items()}
        spread = fit.std.mean(dim=(1, 2))
        return Found(Plans(actions, cost.squeeze(1), spread, shares), kept)

    def _first(self, z: Tensor, goal: Tensor, known: Before) -> tuple[Fit, Tensor | None]:
        """Begin from the last plan, or from the mean action of the data."""
        settings, bounds, last = self._settings, self._bounds, known.plans
        seeds = None
        if last is not None:
            mean = last[:, 0]
            seeds = last[:, 1:] if last.shape[1] > 1 else None
        else:
            still = bounds.low.new_zeros(len(z), 1, settings.horizon, bounds.width)
            mean = self._bound(still, known).squeeze(1)
        if self._propose is not None:
            ideas = self._propose(z, goal)
            seeds = ideas if seeds is None else torch.cat([ideas, seeds], dim=1)
            seeds = seeds[:, : settings.samples - 1]  # the mean is always tried
        return Fit(mean, torch.full_like(mean, settings.init_std)), seeds

    def _place(self, noise: Tensor, fit: Fit, seeds: Tensor | None, known: Before) -> Tensor:
        """Return (B, N, T, K*A); the first sample is the mean, the last ones are the seeds."""
        noise[0].zero_()
        samples = fit.mean.unsqueeze(1) + fit.std.unsqueeze(1) * noise
        if seeds is not None:
            samples[:, -seeds.shape[1] :] = seeds
        return self._bound(samples, known)

    def _follow(self, elites: Elites, fit: Fit, known: Before) -> Fit:
        """Return what the next samples are drawn around."""
        mean, std = self._solver(elites, fit, self._settings)
        # A mean of equal numbers may round to just outside of them.
        return Fit(self._bound(mean.unsqueeze(1), known).squeeze(1), std)

    def _score(self, z: Tensor, goal: Tensor, known: Before, samples: Tensor) -> Tensor:
        if self.cancelled:
            raise CancelledError
        return self._costs(z, goal, samples, known.action)

    def _bound(self, samples: Tensor, known: Before) -> Tensor:
        return self._bounds.bound(samples, known.action, known.past)

    def _time(self) -> float:
        """Read the clock, if anybody waits [s]."""
        if not self._settings.budget_ms:
            return 0.0
        if self._bounds.low.is_cuda:
            torch.cuda.synchronize()
        return self._clock()

    def _has_time(self, begun: float, round_begun: float) -> bool:
        """Say whether a round like the last one, and the end, fit into the budget."""
        if not self._settings.budget_ms:
            return True
        now = self._time()
        needed = now - round_begun
        needed += needed if self._ending is None else self._ending
        return now + needed <= begun + 1e-3 * self._settings.budget_ms

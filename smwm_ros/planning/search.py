# SPDX-License-Identifier: Apache-2.0
"""
Sampling-based search: draw action sequences, roll them out, and refit the distribution.

A search has no state but its noise. Without a time budget no Python code depends on a computed
value, so a GPU runs all of it as one graph.
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
    """The search was cancelled; there is no plan."""


class Before(NamedTuple):
    """What a search starts from, beside latent and goal; None where there is nothing."""

    plans: Tensor | None  # (B, 1+E, T, K*A): warm start: the last plans, shifted, and elites
    action: Tensor | None  # (B, A): the last executed raw action
    past: Tensor | None  # (B, n, A): the first raw actions of every plan
    metric: Tensor | None = None  # (B, D, D): of the distance from the goal


class SearchResult(NamedTuple):
    """The plans, and the warm start of the next search."""

    plans: Plans
    kept: Tensor  # (B, 1+E, T, K*A): the plans, and the elites to keep


class Search:
    """Runs the iterations of the cross-entropy method, or of a related solver."""

    def __init__(
        self,
        settings: config.Planner,
        bounds: Bounds,
        costs: Costs,
        clock: Callable[[], float] = time.perf_counter,  # [s]
        propose: Propose | None = None,
        actor: Propose | None = None,  # of guarded: its best plan is the first mean
    ) -> None:
        self.settings, self.bounds, self.costs = settings, bounds, costs
        self._propose, self._actor = propose, actor
        self._solver = SOLVERS['cem' if actor else settings.kind]
        # icem keeps elites for the next iteration and for the next plan.
        self._kept = round(settings.elite_keep * settings.elites) if settings.kind == 'icem' else 0
        # The mean of different proposals may be worse than each of them.
        self._keeps_best = settings.kind == 'icem' or settings.budget_ms > 0 or propose is not None
        self._keeps_best |= actor is not None
        shape = (settings.samples, settings.horizon, bounds.width)
        beta = settings.noise_beta if settings.kind == 'icem' else 0.0
        device = bounds.low.device
        self.noise = Noise(shape, bounds.block, settings.smooth, beta, device)
        self.cancelled = False
        self._clock = clock
        self._end_seconds: float | None = None  # duration of the last _choose() [s]
        self._draw = fused(self._samples_around, device)
        self._refit = fused(self._fit_to, device)

    def __call__(self, z: Tensor, goal: Tensor, *before: Tensor | None) -> SearchResult:
        """Plan from z (B, D) to goal (B, D), with as many iterations as the budget allows."""
        settings, known = self.settings, Before(*before)
        begun = self._time()
        fit, candidates = self._start(z, goal, known)
        best_so_far: Elites | None = None  # (B, 1, T, K*A)
        score = partial(self._score, z, goal, known)
        for _ in range(settings.iterations):
            iteration_begun = self._time()
            # All problems share the noise, so that a batch gives the plans of single problems.
            samples = self._draw(self.noise.draw(), fit, candidates, known)
            elites = best(samples, score(samples), settings.elites)
            if settings.refine:
                bound = partial(self._bound, known=known)
                elites = descend(score, bound, elites, settings.refine)
            fit = self._refit(elites, fit, known)
            candidates = elites.actions[:, : self._kept] if self._kept else None
            if self._keeps_best:
                best_so_far = better(best_so_far, elites)
            if not self._has_time(begun, iteration_begun):
                break
        begun = self._time()
        found = self._choose(z, goal, known, fit, best_so_far, candidates)
        self._end_seconds = self._time() - begun
        return found

    def _choose(
        self,
        z: Tensor,
        goal: Tensor,
        known: Before,
        fit: Fit,
        best_so_far: Elites | None,
        candidates: Tensor | None,
    ) -> SearchResult:
        """Return the mean, or the best sample where its cost is lower."""
        plans = fit.mean.unsqueeze(1)  # (B, 1 or 2, T, K*A)
        if best_so_far is not None:
            plans = torch.cat([plans, best_so_far.actions], dim=1)
        terms = self.costs.terms(z, goal, plans, known.action, known.metric)
        cost = sum_of(terms)
        if best_so_far is None:
            actions = fit.mean
        else:
            index = cost.nan_to_num(nan=torch.inf).argmin(dim=1, keepdim=True)
            actions = torch.take_along_dim(plans, index[..., None, None], dim=1).squeeze(1)
            terms = {name: term.gather(1, index) for name, term in terms.items()}
            cost = cost.gather(1, index)
        kept = actions.unsqueeze(1)
        if candidates is not None:
            kept = torch.cat([kept, candidates], dim=1)
        shares = {name: term.squeeze(1) for name, term in terms.items()}
        spread = fit.std.mean(dim=(1, 2))
        return SearchResult(Plans(actions, cost.squeeze(1), spread, shares), kept)

    def _start(self, z: Tensor, goal: Tensor, known: Before) -> tuple[Fit, Tensor | None]:
        """Return the first distribution, and candidates that are added to the samples."""
        settings, bounds, last = self.settings, self.bounds, known.plans
        candidates, std = None, settings.init_std
        if self._actor is not None:
            mean, std = self._best_start(self._actor, z, goal, known), settings.guard_std
        elif last is not None:
            mean = last[:, 0]
            candidates = last[:, 1:] if last.shape[1] > 1 else None
        else:
            zeros = bounds.low.new_zeros(len(z), 1, settings.horizon, bounds.width)
            mean = self._bound(zeros, known).squeeze(1)  # the mean action of the data
        if self._propose is not None:
            proposals = self._propose(z, goal, known.action, known.past)
            parts = [proposals] if candidates is None else [proposals, candidates]
            # One sample is left for the mean.
            candidates = torch.cat(parts, dim=1)[:, : settings.samples - 1]
        return Fit(mean, torch.full_like(mean, std)), candidates

    def _best_start(self, actor: Propose, z: Tensor, goal: Tensor, known: Before) -> Tensor:
        """Return the plan (B, T, K*A) with the lowest cost, of the actor's and the last one."""
        plans = actor(z, goal, known.action, known.past)
        if known.plans is not None:
            plans = torch.cat([plans, known.plans], dim=1)
        plans = self._bound(plans, known)
        return best(plans, self._score(z, goal, known, plans), 1).actions.squeeze(1)

    def _samples_around(
        self, noise: Tensor, fit: Fit, candidates: Tensor | None, known: Before
    ) -> Tensor:
        """Return (B, N, T, K*A); first the mean, and last the candidates."""
        noise[0].zero_()
        samples = fit.mean.unsqueeze(1) + fit.std.unsqueeze(1) * noise
        if candidates is not None:
            samples[:, -candidates.shape[1] :] = candidates
        return self._bound(samples, known)

    def _fit_to(self, elites: Elites, fit: Fit, known: Before) -> Fit:
        """Return the distribution of the next samples."""
        mean, std = self._solver(elites, fit, self.settings)
        # Rounding may move the mean just outside the bounds.
        return Fit(self._bound(mean.unsqueeze(1), known).squeeze(1), std)

    def _score(self, z: Tensor, goal: Tensor, known: Before, samples: Tensor) -> Tensor:
        if self.cancelled:
            raise CancelledError
        return self.costs(z, goal, samples, known.action, known.metric)

    def _bound(self, samples: Tensor, known: Before) -> Tensor:
        return self.bounds.bound(samples, known.action, known.past)

    def _time(self) -> float:
        """Return the time where there is a budget, else 0 [s]."""
        if not self.settings.budget_ms:
            return 0.0
        if self.bounds.low.is_cuda:
            torch.cuda.synchronize()
        return self._clock()

    def _has_time(self, begun: float, iteration_begun: float) -> bool:
        """Return whether another iteration and _choose() fit into the budget."""
        if not self.settings.budget_ms:
            return True
        now = self._time()
        needed = now - iteration_begun
        needed += needed if self._end_seconds is None else self._end_seconds
        return now + needed <= begun + 1e-3 * self.settings.budget_ms

# SPDX-License-Identifier: Apache-2.0
"""How long a plan takes: measured for a small search, foreseen for a larger one."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from smwm_ros.config import Planner
from smwm_ros.errors import ConfigError

_SAMPLES, _HORIZON, _ITERATIONS, _REFINE = 256, 5, 2, 1  # of a small search
_GRADIENT = 3  # a step down the gradient costs as much as so many rollouts


def small(planner: Planner) -> Planner:
    """Return the same search, small enough to be timed whatever the settings are."""
    samples = min(planner.samples, _SAMPLES)
    return replace(
        planner,
        samples=samples,
        elites=min(planner.elites, samples),
        horizon=min(planner.horizon, _HORIZON),
        iterations=min(planner.iterations, _ITERATIONS),
        refine=min(planner.refine, _REFINE),
        budget_ms=0.0,
    )


class SearchTime(NamedTuple):
    """How long a search took on this machine."""

    seconds: float
    planner: Planner

    def foresee(self, planner: Planner) -> float:
        """Return how long a plan will take with other settings [s]."""
        each = self.seconds / _steps(self.planner)
        whole = max(self.seconds, each * _steps(planner))
        if not planner.budget_ms:
            return whole
        # The first iteration runs whatever the budget is.
        first = max(self.seconds, each * _steps(replace(planner, iterations=1)))
        return max(first, min(whole, 1e-3 * planner.budget_ms))

    def check(self, planner: Planner, limit: float) -> None:
        """Refuse a search whose plans would come far too late."""
        seconds = self.foresee(planner)
        if seconds > limit:
            raise ConfigError(
                f'planner.samples {planner.samples} x planner.horizon {planner.horizon} x '
                f'planner.iterations {planner.iterations}: a plan would take about '
                f'{seconds:,.1f} s on this machine, and at most {limit:g} s are of use; take '
                'fewer of one of them, or set planner.budget_ms'
            )


def _steps(planner: Planner) -> float:
    """Return how many model steps a search imagines."""
    if 'amortised' in (planner.kind, planner.subplanner if planner.kind == 'roadmap' else ''):
        return 1.0
    tried = planner.samples + _GRADIENT * planner.refine * planner.elites
    return float(tried * planner.horizon * planner.iterations)

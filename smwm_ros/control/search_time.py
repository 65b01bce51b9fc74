# SPDX-License-Identifier: Apache-2.0
"""Measure the time of a small search, and estimate that of a larger one."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from smwm_ros.config import DIRECT, Planner
from smwm_ros.errors import ConfigError

_SAMPLES, _HORIZON, _ITERATIONS, _REFINE = 256, 5, 2, 1  # of a small search
_GRADIENT = 3  # cost of a gradient step [rollouts]


def small(planner: Planner) -> Planner:
    """Return the settings of a search of the same kind that is fast enough to be timed."""
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
    """The time that a search took on this machine."""

    seconds: float
    planner: Planner

    def estimate(self, planner: Planner) -> float:
        """Return the time of a plan with other settings [s]."""
        each = self.seconds / _steps(self.planner)
        whole = max(self.seconds, each * _steps(planner))
        if not planner.budget_ms:
            return whole
        # The first iteration always runs.
        first = max(self.seconds, each * _steps(replace(planner, iterations=1)))
        return max(first, min(whole, 1e-3 * planner.budget_ms))

    def check(self, planner: Planner, limit: float) -> None:
        """Raise if a plan would take longer than the limit [s]."""
        seconds = self.estimate(planner)
        if seconds > limit:
            raise ConfigError(
                f'planner.samples {planner.samples} x planner.horizon {planner.horizon} x '
                f'planner.iterations {planner.iterations}: a plan would take about '
                f'{seconds:,.1f} s on this machine, expected at most {limit:g} s; reduce one of '
                'them, or set planner.budget_ms'
            )

    def warning(self, planner: Planner, oldest: float, dt: float) -> str:
        """Return why a robot would stop between plans, '' if it would not."""
        seconds = self.estimate(planner)
        # A plan is followed until the next one, whose image is taken up to a period after it.
        if 2 * seconds + dt <= oldest:
            return ''
        return (
            f'a plan takes about {seconds:.2g} s on this machine, so the robot will often stop as '
            f'STALE_PLAN; expected at most {(oldest - dt) / 2:.2g} s, as node.image_timeout '
            'permits; lower planner.samples or planner.iterations, set planner.budget_ms or '
            'planner.precision=bf16, or raise node.image_timeout'
        )


def _steps(planner: Planner) -> float:
    """Return how many model steps a search predicts."""
    if planner.inner_kind in ('amortised', DIRECT):
        return 1.0
    tried = planner.samples + _GRADIENT * planner.refine * planner.elites
    return float(tried * planner.horizon * planner.iterations)

# SPDX-License-Identifier: Apache-2.0
"""Evenly spaced ticks: deadlines that do not drift, and the number of ticks between two times."""

from __future__ import annotations

import math

MARGIN = 0.05  # a plan should be ready this long before its tick [share of a period]
GRACE = 0.1  # a tick waits at most this long for a late plan [share of a period]
MAX_SHIFT = 0.02  # largest shift of the grid at a tick [share of a period]


def ticks_between(start: float, time: float, dt: float) -> int:
    """Return how many whole periods lie between two times, robust to rounding errors."""
    return math.floor((time - start) / dt + 1e-6)


class Metronome:
    """Absolute deadlines: a late tick does not delay later ones, and missed ticks are skipped."""

    def __init__(self, dt: float, start: float) -> None:
        self.dt = dt
        self.deadline = start
        self.missed = 0

    def advance(self, now: float) -> None:
        """Set the next deadline: the first one on the grid after now."""
        late = max(0, ticks_between(self.deadline, now, self.dt))
        self.missed += late
        self.deadline += (late + 1) * self.dt

    def shift_phase(self, waited: float) -> None:
        """
        Shift the grid a little, so that plans are ready MARGIN before their tick.

        `waited` is the time between the end of planning and the tick that was just played [s].
        """
        error = waited - MARGIN * self.dt
        error -= self.dt * round(error / self.dt)  # a plan that was too late waited a period
        self.deadline -= min(max(error, -MAX_SHIFT * self.dt), MAX_SHIFT * self.dt)

    def restart(self, start: float) -> None:
        """Begin a new grid."""
        self.deadline = start


class PlanClock:
    """Count the raw ticks between the images that plans are made from."""

    def __init__(self, dt: float) -> None:
        self._dt = dt
        self._start: float | None = None
        self._tick = 0

    def elapsed(self, image_time: float) -> int:
        """Return the raw ticks since the previous image; fractions carry over to the next."""
        if self._start is None or image_time < self._start:
            self._start, self._tick = image_time - self._dt / 2, 0
        tick = ticks_between(self._start, image_time, self._dt)
        elapsed, self._tick = tick - self._tick, tick
        return max(0, elapsed)

    def reset(self) -> None:
        """Count from the next image."""
        self._start = None

# SPDX-License-Identifier: Apache-2.0
"""Even ticks: deadlines that do not drift, and how many ticks lie between two instants."""

from __future__ import annotations

import math

MARGIN = 0.05  # a plan is meant to be ready so long before its tick [share of a period]
GRACE = 0.1  # a tick waits so long for a plan that is a little late [share of a period]
LEAN = 0.02  # ticks move no further than this at a time [share of a period]


def ticks_between(start: float, time: float, dt: float) -> int:
    """Return how many whole periods lie between two instants, unmoved by rounding errors."""
    return math.floor((time - start) / dt + 1e-6)


class Metronome:
    """Absolute deadlines: a late tick moves no later one, and missed ticks are not made up."""

    def __init__(self, dt: float, start: float) -> None:
        self.dt = dt
        self.deadline = start
        self.missed = 0

    def advance(self, now: float) -> None:
        """Set the next deadline, the first one on the grid that is still to come."""
        late = max(0, ticks_between(self.deadline, now, self.dt))
        self.missed += late
        self.deadline += (late + 1) * self.dt

    def lean(self, waited: float) -> None:
        """
        Move the grid a little, so that a plan waits only a margin for its tick.

        `waited` is how long the plan of the tick that was just played had been ready [s].
        """
        error = waited - MARGIN * self.dt
        error -= self.dt * round(error / self.dt)  # a plan that came too late waited a period
        self.deadline -= min(max(error, -LEAN * self.dt), LEAN * self.dt)

    def restart(self, start: float) -> None:
        """Begin a new grid."""
        self.deadline = start


class PlanClock:
    """How many raw ticks lie between the images that plans are made from."""

    def __init__(self, dt: float) -> None:
        self._dt = dt
        self._start: float | None = None
        self._tick = 0

    def elapsed(self, seen: float) -> int:
        """Return the raw ticks since the previous image; fractions are carried, never lost."""
        if self._start is None or seen < self._start:
            self._start, self._tick = seen - self._dt / 2, 0
        tick = ticks_between(self._start, seen, self._dt)
        elapsed, self._tick = tick - self._tick, tick
        return max(0, elapsed)

    def reset(self) -> None:
        """Count from the next image."""
        self._start = None

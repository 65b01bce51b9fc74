# SPDX-License-Identifier: Apache-2.0
"""
Latency: an image is old when it comes, planning takes time, and the robot acts late.

By the time a plan acts, the robot has obeyed commands that the image knows nothing of. They are
on record, so a plan begins with them at the instant the image was taken, and only what comes
after them is chosen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import numpy as np
from smwm_ros.control.ticks import ticks_between
from smwm_ros.interfaces import Array

KEPT = 30.0  # how long a command is remembered [s]


class PlanStart(NamedTuple):
    """From when a plan counts, and what it begins with."""

    start: float  # row k of the plan is for commands sent in [start + k*dt, start + (k+1)*dt)
    sent: Array | None = None  # (n, A) its first rows, which are past or decided


class Record:
    """The commands that a robot was told lately; methods may be called from any thread."""

    def __init__(self, dt: float, rest: Array | None) -> None:
        self._dt = dt
        self._rest = rest  # (A,) in force before the first command; None if nobody knows
        self._told: deque[tuple[float, Array]] = deque()
        self._lock = Lock()

    def note(self, time: float, action: Array) -> None:
        """Note a command; when time jumps back, what was noted before means nothing."""
        with self._lock:
            if self._told and time < self._told[-1][0]:
                self._told.clear()
            self._told.append((time, action))
            # The last one before the span is in force at its beginning.
            while len(self._told) > 1 and self._told[1][0] < time - KEPT:
                self._told.popleft()

    def plan_start(
        self, begin: float, tick: float, foresee: Callable[[float], Array | None]
    ) -> PlanStart:
        """
        Return how a plan should begin that will first be played at a tick.

        A command sent at `begin` acts at the instant that the image shows. foresee(time) is what
        will be commanded at ticks to come until then, None for what is commanded now.
        """
        half = self._dt / 2
        count = max(0, ticks_between(begin, tick + half, self._dt))
        # On the grid of the ticks, so that each row is one command; half a period off at most.
        start = tick - count * self._dt
        with self._lock:
            told = list(self._told)
        rows = [self._in_force(told, start + k * self._dt, foresee) for k in range(count)]
        known = [row for row in rows if row is not None]
        # A tick that comes a little early shall still find its row.
        return PlanStart(start - half, np.stack(known) if known and len(known) == count else None)

    def _in_force(
        self,
        told: list[tuple[float, Array]],
        tick: float,
        foresee: Callable[[float], Array | None],
    ) -> Array | None:
        """Return the command of the period that begins at a tick."""
        middle = tick + self._dt / 2
        before = [entry for entry in told if entry[0] <= middle]
        if not before:
            return self._rest
        time, action = before[-1]
        planned = foresee(tick) if middle > time + self._dt and len(before) == len(told) else None
        return action if planned is None else planned

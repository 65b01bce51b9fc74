# SPDX-License-Identifier: Apache-2.0
"""
Compensate latency: images arrive late, planning takes time, and the robot acts late.

Between the time an image was taken and the time its plan acts, the robot follows commands that
the image does not show. They are recorded, so a plan begins with them at the time of the image,
and the planner chooses only the actions after them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import numpy as np
from smwm_ros.control.ticks import ticks_between
from smwm_ros.interfaces import Array

RETENTION = 30.0  # commands are kept at least this long [s]


class PlanStart(NamedTuple):
    """The time from which a plan counts, and its first actions."""

    start: float  # row k of the plan is for commands sent in [start + k*dt, start + (k+1)*dt)
    sent: Array | None = None  # (n, A) first rows, which were sent or will be
    before: Array | None = None  # (n, A) rows before the start, for models that read the past


class CommandRecord:
    """The recent commands; methods may be called from any thread."""

    def __init__(self, dt: float, rest: Array | None, past: int = 0) -> None:
        self._dt = dt
        self._kept = RETENTION + past * dt  # `past` commands before a plan are read, too [s]
        self._rest = rest  # (A,) in force before the first command; None if unknown
        self._commands: deque[tuple[float, Array]] = deque()  # time sent [s] and action (A,)
        self._lock = Lock()

    def add(self, time: float, action: Array) -> None:
        """Add a command; a time before the last one clears the record, for time jumped back."""
        with self._lock:
            if self._commands and time < self._commands[-1][0]:
                self._commands.clear()
            self._commands.append((time, action))
            # Keep the command that is in force at the beginning of the retention time.
            while len(self._commands) > 1 and self._commands[1][0] < time - self._kept:
                self._commands.popleft()

    def rows(self, begin: float, count: int) -> Array | None:
        """Return the commands (count, A) in force from a time on, one for each period."""
        with self._lock:
            commands = list(self._commands)
        found = [
            self._in_force(commands, begin + k * self._dt, lambda _: None) for k in range(count)
        ]
        known = [row for row in found if row is not None]
        return np.stack(known) if known and len(known) == count else None

    def plan_start(
        self, begin: float, tick: float, planned_action: Callable[[float], Array | None]
    ) -> PlanStart:
        """
        Return how a plan begins whose first chosen action is for the tick at time `tick`.

        A command sent at `begin` acts when the image was taken. planned_action(time) returns the
        action for a tick between now and `tick`, None where the current command stays in force.
        """
        half = self._dt / 2
        count = max(0, ticks_between(begin, tick + half, self._dt))
        # On the grid of the ticks each row is one command; the start is off by dt/2 at most.
        start = tick - count * self._dt
        with self._lock:
            commands = list(self._commands)
        rows = [
            self._in_force(commands, start + k * self._dt, planned_action) for k in range(count)
        ]
        known = [row for row in rows if row is not None]
        # A tick that is a little early must still get its row.
        return PlanStart(start - half, np.stack(known) if known and len(known) == count else None)

    def before(self, start: float, most: int) -> Array | None:
        """Return the last known commands (n, A) before the start of a plan, at most `most`."""
        with self._lock:
            commands = list(self._commands)
        found = list[Array]()
        for back in range(1, most + 1):
            tick = start + (0.5 - back) * self._dt  # the start of a plan is half a tick early
            row = self._in_force(commands, tick, lambda _: None)
            if row is None:
                break
            found.append(row)
        return np.stack(found[::-1]) if found else None

    def _in_force(
        self,
        commands: list[tuple[float, Array]],
        tick: float,
        planned_action: Callable[[float], Array | None],
    ) -> Array | None:
        """Return the command (A,) of the period that begins at a tick."""
        middle = tick + self._dt / 2
        before = [command for command in commands if command[0] <= middle]
        if not before:
            return self._rest
        time, action = before[-1]
        is_future = middle > time + self._dt and len(before) == len(commands)
        planned = planned_action(tick) if is_future else None
        return action if planned is None else planned

# SPDX-License-Identifier: Apache-2.0
"""
From the commands of raw steps to the velocities of a robot: delays, gains and inertia.

Inertia is a first-order lag with a limit: a velocity v follows its command c by
dv/dt = (c - v) / lag, but no faster than the largest acceleration. While a command is held, this
has an exact solution: a ramp, then an exponential. So the velocities depend on no number of
substeps. In each raw step a scene moves with their mean. They are the velocities of the actuators:
a wall that stops a robot does not stop its wheels.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.arenas.braking import Braking
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import ActionSpec, Array
from smwm_ros.text import count_of

SETTLING = 3  # raw steps in which an expert with inertia closes a small distance


class Actuation(NamedTuple):
    """How the fields of a command take effect; by default at once, and as commanded."""

    delays: tuple[int, ...] = ()  # of each field [raw steps]
    gains: tuple[float, ...] = ()  # of each field: motion over that commanded
    lag: float = 0.0  # time constant with which velocities follow commands [s]
    acceleration: tuple[float, ...] = ()  # largest, of each field or of all [SI unit per second]

    @property
    def has_inertia(self) -> bool:
        """Return whether velocities follow their commands with time."""
        return bool(self.lag or self.acceleration)

    def for_fields(self, count: int) -> Actuation:
        """Return one value for each field; raise if there are too many or too few."""
        for name, values in (('field_delay', self.delays), ('field_gain', self.gains)):
            if len(values) not in (0, count):
                raise ArenaError(
                    f'arena.{name}: expected one number for each of {count_of(count, "field")} '
                    f'of the command, or [], found {list(values)}'
                )
        limits = self.acceleration or (np.inf,)
        if len(limits) not in (1, count):
            raise ArenaError(
                f'arena.acceleration: expected one number for all {count_of(count, "field")} of '
                f'the command, or one for each, or [], found {list(limits)}'
            )
        limits = limits * (count // len(limits))
        return Actuation(
            self.delays or (0,) * count, self.gains or (1.0,) * count, self.lag, limits
        )


AS_COMMANDED = Actuation()


class Actuators:
    """Holds the commands under way, and the velocities that follow them."""

    def __init__(self, spec: ActionSpec, actuation: Actuation) -> None:
        self.has_inertia = actuation.has_inertia
        self._spec = spec
        self._own = actuation.for_fields(spec.size)
        gains = self._own.gains
        # The motors have the largest gain, so that no command is raised above its limit.
        self.motor_gain = max(gains)
        self._shares = np.array(gains) / max(gains)
        self._still = spec.clip(np.zeros(spec.size))
        self.set_up(0, 0.0, 1.0)
        self.stop()

    def set_up(self, latency: int, lag: float, gain: float) -> None:
        """Take on further latency [raw steps] and lag [s], and the gain of the motors."""
        self._latency, self._lag = latency, self._own.lag + lag
        self._limit = np.array(self._own.acceleration) / gain  # of velocities before the gain

    def stop(self) -> None:
        """Discard all commands under way, and stop the robot."""
        length = self._latency + max(self._own.delays) + 1
        self._queue = deque([self._still] * length, length)
        self._velocity = self._still  # (A,) at the end of the last raw step

    def follow(self, command: Array) -> Array:
        """Send a command (A,); return the mean velocity (A,) of this raw step."""
        self._queue.append(command)
        behind = [self._latency + delay for delay in self._own.delays]
        due = [self._queue[-1 - ticks][field] for field, ticks in enumerate(behind)]
        self._velocity, mean = respond(
            self._velocity, np.array(due) * self._shares, self._lag, self._limit, self._spec.dt
        )
        return mean

    def command_for(self, velocity: Array) -> Array:
        """Return the command (A,) that leads to a velocity (A,) within a raw step, or nearest."""
        if not self._lag:
            return self._spec.clip(velocity)
        missing = velocity - self._velocity
        return self._spec.clip(
            self._velocity + missing / (1.0 - np.exp(-self._spec.dt / self._lag))
        )

    def braking(self) -> Braking:
        """Return how an expert that knows lag and acceleration can approach a point."""
        slowest = np.minimum(self._spec.high, -np.array(self._spec.low))
        by_lag = slowest / self._own.lag if self._own.lag else np.inf
        return Braking(SETTLING * self._spec.dt, np.minimum(self._own.acceleration, by_lag))

    def save(self) -> Any:
        """Return all that later velocities depend on, beside the values of set_up."""
        return tuple(self._queue), self._velocity.copy()

    def restore(self, saved: Any) -> None:
        """Restore what save() returned."""
        queue, velocity = saved
        self._queue = deque(queue, len(queue))
        self._velocity = velocity.copy()


def respond(
    velocity: Array, command: Array, lag: float, limit: Array, time: float
) -> tuple[Array, Array]:
    """
    Return the velocities (A,) after a time [s] with one command (A,), and their means until then.

    First a velocity changes at its limit, until the lag alone changes it more slowly.
    """
    missing = command - velocity
    ramp = np.clip(np.abs(missing) / limit - lag, 0.0, time)  # time of the first part [s]
    change = np.minimum(np.abs(missing), np.where(ramp > 0, limit, 0.0) * ramp)
    between = velocity + np.copysign(change, missing)
    behind = between - command
    # Shares of a first-order lag that are left after the rest of the time, and in its mean.
    left = np.exp((ramp - time) / lag) if lag else (ramp == time).astype(float)
    after: Array = command + left * behind
    share = ramp / time
    mean: Array = share * (velocity + between) / 2 + (1 - share) * command
    return after, mean + (1 - left) * lag / time * behind

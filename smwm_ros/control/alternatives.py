# SPDX-License-Identifier: Apache-2.0
"""
Several goals at once, any of which counts: head for the nearest, and reach whichever comes first.

Camera noise changes which of two goals is nearer. So the robot heads for another one only when
that is clearly nearer than the one it heads for.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.control.route import Event, GoalTolerance, Route
from smwm_ros.interfaces import Array

_NEARER = 0.8  # share of the way to the target within which another goal becomes the target


class Alternatives:
    """Goals in any order, and the one that the robot heads for."""

    def __init__(self, latents: Array, tolerance: GoalTolerance | None) -> None:
        self.latents = latents  # (N, D)
        self.metric: Array | None = None  # goals with a mask are no alternatives
        self._goals = [Route(latent[None], tolerance) for latent in latents]
        self.at = 0  # index of the goal that is the target
        self.reached = False

    @property
    def tolerance(self) -> GoalTolerance | None:
        """Return when a goal is reached."""
        return self._goals[0].tolerance

    @tolerance.setter
    def tolerance(self, tolerance: GoalTolerance | None) -> None:
        for goal in self._goals:
            goal.tolerance = tolerance

    @property
    def target(self) -> Array:
        """Return the latent (D,) of the goal that the robot heads for."""
        latent: Array = self.latents[self.at]
        return latent

    def begin(self, z: Array, seconds: Array | None = None) -> None:
        """Head for the nearest goal from the latent (D,) of an image."""
        self.at = int(self._ways(z, seconds).argmin())

    def restart(self) -> None:
        """Forget that a goal was reached, and keep the target."""
        self.reached = False
        for goal in self._goals:
            goal.restart()

    def update(self, z: Array, seconds: Array | None = None) -> Event:
        """Update with the latent (D,) of an image, and its times (N,) to the goals [s]."""
        times = [None] * len(self._goals) if seconds is None else seconds.tolist()
        events = [goal.update(z, time) for goal, time in zip(self._goals, times, strict=True)]
        if self.reached:
            self.reached = events[self.at] is not Event.LEFT
            return events[self.at] if events[self.at] is Event.LEFT else Event.NOTHING
        if Event.REACHED in events:
            self.at, self.reached = events.index(Event.REACHED), True
            return Event.REACHED
        ways = self._ways(z, seconds)
        nearest = int(ways.argmin())
        if ways[nearest] >= _NEARER * ways[self.at]:
            return Event.NOTHING
        self.at = nearest
        return Event.PASSED

    def _ways(self, z: Array, seconds: Array | None) -> Array:
        """Return how far the goals are (N,): in seconds, or in latent distance."""
        distances: Array = np.linalg.norm(self.latents - z, axis=1)
        return distances if seconds is None else seconds

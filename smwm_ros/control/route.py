# SPDX-License-Identifier: Apache-2.0
"""
Track the progress along a route of subgoals, which are latents; a single goal is a route of one.

Camera noise changes latent distances, so one image decides nothing: a goal is reached after
`settle` images within `near`, with no image beyond `far` between them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array

_SKIP = 1  # subgoals that may be skipped when the next one is near


class GoalTolerance(NamedTuple):
    """Thresholds of latent distance at which a goal is reached, and left."""

    near: float  # the goal is reached within this distance
    far: float  # the goal is left beyond this distance; a subgoal is passed within it
    settle: int  # images within near before the goal is reached


class Event(Enum):
    """How an image changes the progress along a route."""

    NOTHING = 0
    PASSED = 1  # the next subgoal is the target now
    REACHED = 2
    LEFT = 3  # the goal was reached before, and the robot left it


class Route:
    """Subgoals in order, and the progress of the robot."""

    def __init__(self, latents: Array, tolerance: GoalTolerance | None) -> None:
        if latents.ndim != 2 or not len(latents):
            raise ValueError(f'expected latents (N, D), found {latents.shape}')
        if len(latents) > 1 and tolerance is None:
            raise ValueError('a route of several subgoals requires a goal tolerance')
        self.latents = latents  # (N, D)
        self.tolerance = tolerance  # None: unknown, so no goal is reported as reached
        self.at = 0  # index of the subgoal that is the target
        self.reached = False
        self._near = 0  # images within near since the last one beyond far

    @property
    def target(self) -> Array:
        """Return the latent (D,) of the current subgoal."""
        latent: Array = self.latents[self.at]
        return latent

    def restart(self) -> None:
        """Forget that the goal was reached, and keep the current subgoal."""
        self.reached, self._near = False, 0

    def update(self, z: Array) -> Event:
        """Update the progress with the latent (D,) of an image."""
        if self.tolerance is None:
            return Event.NOTHING
        window = self.latents[self.at : self.at + 1 + _SKIP]
        distances = np.linalg.norm(window - z, axis=1)
        last = len(self.latents) - 1
        passed = [self.at + k for k, d in enumerate(distances) if d <= self.tolerance.far]
        if passed and self.at < last:
            self.at = min(passed[-1] + 1, last)
            return Event.PASSED
        if self.at < last:
            return Event.NOTHING
        return self._update_goal(float(distances[0]), self.tolerance)

    def _update_goal(self, distance: float, tolerance: GoalTolerance) -> Event:
        """Update whether the last subgoal is reached, or left again."""
        if distance > tolerance.far:
            self._near = 0
            if self.reached:
                self.reached = False
                return Event.LEFT
        elif distance <= tolerance.near:
            self._near += 1
            if self._near >= tolerance.settle and not self.reached:
                self.reached = True
                return Event.REACHED
        return Event.NOTHING


class RouteRecorder:
    """Collect the pictures of a drive that are subgoals when it is repeated."""

    def __init__(self, spacing: float) -> None:
        self._spacing = spacing  # latent distance between two subgoals
        self._kept: list[tuple[Array, Array]] = []  # latent (D,) and picture of each subgoal
        self._last: tuple[Array, Array] | None = None  # of the newest image

    def add(self, z: Array, picture: Array) -> None:
        """Add the next image of the drive and its latent (D,)."""
        self._last = z, picture
        if not self._kept or np.linalg.norm(z - self._kept[-1][0]) > self._spacing:
            self._kept.append(self._last)

    def route(self) -> list[Array]:
        """Return the first and the last picture of the drive, and the subgoals between them."""
        if self._last is None:
            return []
        kept = list(self._kept)
        if kept[-1] is not self._last:
            # A subgoal close to the last image would only slow the robot down.
            near = np.linalg.norm(kept[-1][0] - self._last[0]) < self._spacing / 2
            if near and len(kept) > 1:
                kept.pop()
            kept.append(self._last)
        return [picture for _, picture in kept]

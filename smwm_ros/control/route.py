# SPDX-License-Identifier: Apache-2.0
"""
Track the progress along a route of subgoals, which are latents; a single goal is a route of one.

Camera noise changes latent distances, so one image decides nothing: a goal is reached after
`settle` images within `near`, with no image beyond `far` between them.

Another light than that of the pictures shifts all latents about equally: at a subgoal the robot
still measures a distance to it. The position along the way from the subgoal before changes
little. So a subgoal is also passed when the robot is level with it and the distance falls no
more. Later subgoals need no wait: the distance beside the way that was left there is tolerated.
"""

from __future__ import annotations

from enum import Enum
import math
from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array

_SKIP = 1  # subgoals that may be skipped when the next one is near
_PATIENCE = 10  # images without a smaller distance after which it falls no more
_SMALLER = 0.98  # of the smallest distance so far
_TURN = 0.5  # of the spacing: a drive that comes back this far has turned


class GoalTolerance(NamedTuple):
    """Thresholds of latent distance, or of time, at which a goal is reached, and left."""

    near: float  # the goal is reached within this distance; negative for never
    far: float  # the goal is left beyond this distance; a subgoal is passed within half of it
    settle: int  # images within near before the goal is reached
    # Thresholds that replace near and far where the time to the goal is known; 0 to ignore it.
    near_time: float = 0.0  # [s]
    far_time: float = 0.0  # [s]


class Event(Enum):
    """How an image changes the progress along a route."""

    NOTHING = 0
    PASSED = 1  # another subgoal, or another alternative goal, is the target now
    REACHED = 2
    LEFT = 3  # the goal was reached before, and the robot left it


class Route:
    """Subgoals in order, and the progress of the robot."""

    def __init__(
        self, latents: Array, tolerance: GoalTolerance | None, metric: Array | None = None
    ) -> None:
        if latents.ndim != 2 or not len(latents):
            raise ValueError(f'expected latents (N, D), found {latents.shape}')
        if len(latents) > 1 and tolerance is None:
            raise ValueError('a route of several subgoals requires a goal tolerance')
        self.latents = latents  # (N, D)
        self.metric = metric  # (D, D) of a goal with a mask
        self.tolerance = tolerance  # None: unknown, so no goal is reported as reached
        self.at = 0  # index of the subgoal that is the target
        self.reached = False
        self._near = 0  # images within near since the last one beyond far
        self._shift = 0.0  # distance beside the way that is due to another light
        self._smallest = math.inf  # distance to the target
        self._waited = 0  # images since it was so small

    @property
    def target(self) -> Array:
        """Return the latent (D,) of the current subgoal."""
        latent: Array = self.latents[self.at]
        return latent

    def restart(self) -> None:
        """Forget that the goal was reached, and keep the current subgoal."""
        self.reached, self._near = False, 0
        self._begin_approach()

    def update(self, z: Array, seconds: float | None = None) -> Event:
        """Update the progress with the latent (D,) of an image, and its time to the target [s]."""
        if self.tolerance is None:
            return Event.NOTHING
        away = z - self.target
        distance = float(np.linalg.norm(away if self.metric is None else away @ self.metric))
        if distance < _SMALLER * self._smallest:
            self._smallest, self._waited = distance, 0
        else:
            self._waited += 1
        last = len(self.latents) - 1
        if self.at == last:
            return self._update_goal(z, distance, self.tolerance, seconds)
        passed = self._count_passed(z, distance, self.tolerance.far / 2)
        if not passed:
            return Event.NOTHING
        self.at = min(self.at + passed, last)
        self._begin_approach()
        return Event.PASSED

    def _begin_approach(self) -> None:
        """Forget how near the robot was."""
        self._smallest, self._waited = math.inf, 0

    def _count_passed(self, z: Array, distance: float, near: float) -> int:
        """Return how many subgoals are passed, before the last one."""
        here, there = self.latents[self.at : self.at + 2]
        # Where the route turns back, the next subgoal is near long before this one.
        before = self.latents[max(self.at - 1, 0)]
        goes_on = np.linalg.norm(there - before) >= np.linalg.norm(here - before)
        if goes_on and np.linalg.norm(z - there) <= near:
            return 1 + _SKIP
        return int(distance <= near or self._is_level(z, distance, near))

    def _is_level(self, z: Array, distance: float, near: float) -> bool:
        """Return whether the robot is as far along the way as the target, and gets no nearer."""
        if len(self.latents) < 2:
            return False
        begin = max(self.at - 1, 0)
        way = self.latents[begin + 1] - self.latents[begin]
        ahead = float((self.target - z) @ way) / max(float(np.linalg.norm(way)), 1e-9)
        if ahead > near:
            return False
        beside = float(np.sqrt(max(distance**2 - ahead**2, 0.0)))
        if self._waited >= _PATIENCE:
            self._shift = beside
            return True
        return self._shift > 0 and beside <= near + self._shift

    def _update_goal(
        self, z: Array, distance: float, tolerance: GoalTolerance, seconds: float | None
    ) -> Event:
        """Update whether the last subgoal is reached, or left again."""
        measured, near, far = distance, tolerance.near, tolerance.far + self._shift
        if seconds is not None and tolerance.near_time > 0:
            measured, near, far = seconds, tolerance.near_time, tolerance.far_time
        if measured > far:
            self._near = 0
            if self.reached:
                self.reached = False
                return Event.LEFT
        elif measured <= near:
            self._near += 1
        if self.reached:
            return Event.NOTHING
        waits = self._waited >= _PATIENCE and tolerance.near >= 0
        ends = waits and self._is_level(z, distance, tolerance.near)
        if ends or self._near >= tolerance.settle:
            self.reached = True
            return Event.REACHED
        return Event.NOTHING


class RouteRecorder:
    """Collect the pictures of a drive that are subgoals when it is repeated."""

    def __init__(self, spacing: float) -> None:
        self._spacing = spacing  # latent distance between two subgoals
        self._kept: list[tuple[Array, Array]] = []  # latent (D,) and picture of each subgoal
        self._last: tuple[Array, Array] | None = None  # of the newest image
        # Since the last subgoal: the largest distance from it, and where it was.
        self._farthest: tuple[float, tuple[Array, Array]] = 0.0, (np.zeros(0), np.zeros(0))

    def add(self, z: Array, picture: Array) -> None:
        """Add the next image of the drive and its latent (D,)."""
        self._last = z, picture
        away = float(np.linalg.norm(z - self._kept[-1][0])) if self._kept else np.inf
        if away < self._farthest[0] - _TURN * self._spacing:  # the drive has turned back
            turn = self._farthest[1]
            self._kept.append(turn)
            away = float(np.linalg.norm(z - turn[0]))
            self._farthest = away, self._last
        if away > self._spacing:
            self._kept.append(self._last)
            self._farthest = 0.0, self._last
        elif away > self._farthest[0]:
            self._farthest = away, self._last

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

# SPDX-License-Identifier: Apache-2.0
"""
A goal, or a route of subgoals, as latents: which one is next, and whether the last is reached.

A camera sees a little differently each time, so nothing is decided by one number alone: a goal is
reached when the robot was near it for a few images, and not too far from it in between.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array

_SKIP = 1  # subgoals that may be left out, when the one after them is near already


class GoalTolerance(NamedTuple):
    """What near and far mean, in latent distance."""

    near: float  # the goal is reached within this,
    far: float  # and left beyond this; a subgoal on the way counts as passed within it
    settle: int  # images near the goal before it is reached


class Event(Enum):
    """What an image says about the progress along a route."""

    NOTHING = 0
    PASSED = 1  # another subgoal is next
    REACHED = 2
    LEFT = 3  # the robot was at the goal, and is not any more


class Route:
    """Latents to come by in order, and how far the robot has come."""

    def __init__(self, latents: Array, reach: GoalTolerance | None) -> None:
        if latents.ndim != 2 or not len(latents):
            raise ValueError(f'expected latents (N, D), found {latents.shape}')
        if len(latents) > 1 and reach is None:
            raise ValueError('a route needs to know when a subgoal is reached')
        self.latents = latents  # (N, D)
        self.reach = reach  # None: nobody knows what near means, so nothing is ever reached
        self.at = 0  # the subgoal that is aimed at
        self.reached = False
        self._near = 0  # images near the goal, with none that was far between them

    @property
    def target(self) -> Array:
        """Return the latent (D,) to aim at."""
        latent: Array = self.latents[self.at]
        return latent

    def restart(self) -> None:
        """Forget that the goal was reached; the way that was gone is kept."""
        self.reached, self._near = False, 0

    def see(self, z: Array) -> Event:
        """Take the latent (D,) of an image, and say what it means."""
        if self.reach is None:
            return Event.NOTHING
        window = self.latents[self.at : self.at + 1 + _SKIP]
        away = np.linalg.norm(window - z, axis=1)
        last = len(self.latents) - 1
        passed = [self.at + k for k, d in enumerate(away) if d <= self.reach.far]
        if passed and self.at < last:
            self.at = min(passed[-1] + 1, last)
            return Event.PASSED
        return self._arrive(float(away[0]), self.reach) if self.at == last else Event.NOTHING

    def _arrive(self, away: float, reach: GoalTolerance) -> Event:
        """Look whether the goal is reached, or left again."""
        if away > reach.far:
            self._near = 0
            if self.reached:
                self.reached = False
                return Event.LEFT
        elif away <= reach.near:
            self._near += 1
            if self._near >= reach.settle and not self.reached:
                self.reached = True
                return Event.REACHED
        return Event.NOTHING


class RouteRecorder:
    """Watches a drive, and keeps pictures to come by when it is repeated."""

    def __init__(self, spacing: float) -> None:
        self._spacing = spacing  # latent distance between two of them
        self._kept: list[tuple[Array, Array]] = []  # latent and picture of each landmark
        self._last: tuple[Array, Array] | None = None  # of the newest image

    def see(self, z: Array, picture: Array) -> None:
        """Take the next image of the drive."""
        self._last = z, picture
        if not self._kept or np.linalg.norm(z - self._kept[-1][0]) > self._spacing:
            self._kept.append(self._last)

    def route(self) -> list[Array]:
        """Return the pictures: the first and the last of the drive, and landmarks between."""
        if self._last is None:
            return []
        kept = list(self._kept)
        if kept[-1] is not self._last:
            # A landmark that is nearly the last image would only make the robot dawdle.
            near = np.linalg.norm(kept[-1][0] - self._last[0]) < self._spacing / 2
            if near and len(kept) > 1:
                kept.pop()
            kept.append(self._last)
        return [picture for _, picture in kept]

# SPDX-License-Identifier: Apache-2.0
"""Distractors: visible balls that roll at random and touch nothing. A model should ignore them."""

from __future__ import annotations

from math import exp, radians, sqrt, tan

import numpy as np
from smwm_ros.arenas.bodies import Part
from smwm_ros.arenas.worlds import AnyWorld
from smwm_ros.interfaces import Array

COLOURS = (
    (0.13, 0.60, 0.25),
    (0.55, 0.20, 0.65),
    (0.95, 0.80, 0.10),
    (0.10, 0.65, 0.75),
    (0.90, 0.45, 0.65),
)
# As shares of half the width of the visible floor:
AREA = 0.8  # half the width of the square in which the balls stay
RADIUS = 0.08
SPEED = 0.3  # standard deviation in x and in y [1/s]
TIME_CONSTANT = 1.0  # of the velocity's autocorrelation [s]


class Balls:
    """Balls on the floor, in a square around the middle of the image."""

    def __init__(self, world: AnyWorld, count: int, dt: float) -> None:
        self._world, self._dt = world, dt
        eye, target = np.array(world.camera.eye, float), np.array(world.camera.target, float)
        half = float(np.linalg.norm(eye - target)) * tan(radians(world.camera.fov / 2))
        self._middle, self._area, self._speed = target[:2], AREA * half, SPEED * half
        self._radius = RADIUS * half
        self._names = [f'ball {number}' for number in range(count)]
        for number, name in enumerate(self._names):
            colour = COLOURS[number % len(COLOURS)]
            world.add_static(name, Part('sphere', (self._radius,), colour, solid=False))
        self._place = self._velocity = np.zeros((count, 2))

    def scatter(self, rng: np.random.Generator) -> None:
        """Draw place and velocity of every ball."""
        shape = self._place.shape
        self._velocity = self._speed * rng.standard_normal(shape)
        self._put(rng.uniform(-self._area, self._area, shape))

    def roll(self, rng: np.random.Generator) -> None:
        """Advance by one raw step of a random walk that is reflected at the border."""
        keep = exp(-self._dt / TIME_CONSTANT)
        push = sqrt(1 - keep**2) * self._speed * rng.standard_normal(self._place.shape)
        self._velocity = keep * self._velocity + push
        place = self._place + self._velocity * self._dt
        beyond = np.abs(place) > self._area
        self._velocity = np.where(beyond, -self._velocity, self._velocity)
        self._put(np.clip(place, -self._area, self._area))

    def save(self) -> tuple[Array, Array]:
        """Return places and velocities."""
        return self._place.copy(), self._velocity.copy()

    def restore(self, saved: tuple[Array, Array]) -> None:
        """Restore places and velocities."""
        place, velocity = saved
        self._velocity = velocity.copy()
        self._put(place.copy())

    def _put(self, place: Array) -> None:
        """Move the balls to places (N, 2) relative to the middle."""
        self._place = place
        for name, (x, y) in zip(self._names, self._middle + place, strict=True):
            self._world.move_static(name, (x, y, self._radius))

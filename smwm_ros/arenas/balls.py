# SPDX-License-Identifier: Apache-2.0
"""Balls that are only seen, and roll about by themselves: what a model should learn to ignore."""

from __future__ import annotations

from math import exp, radians, sqrt, tan

import numpy as np
from smwm_ros.arenas.bodies import Colour
from smwm_ros.arenas.world import World
from smwm_ros.interfaces import Array

COLOURS = (
    (0.13, 0.60, 0.25),
    (0.55, 0.20, 0.65),
    (0.95, 0.80, 0.10),
    (0.10, 0.65, 0.75),
    (0.90, 0.45, 0.65),
)
AREA = 0.8  # they stay within this share of what is seen of the floor
RADIUS = 0.08  # [share of half the width of what is seen]
SPEED = 0.3  # typical, in x and in y [same, in a second]
MEMORY = 1.0  # they forget their velocity in this time [s]


class Balls:
    """Some balls on the floor, in a square about the middle of the picture."""

    def __init__(self, world: World, count: int, dt: float) -> None:
        self._world, self._dt = world, dt
        eye, target = np.array(world.camera.eye, float), np.array(world.camera.target, float)
        half = float(np.linalg.norm(eye - target)) * tan(radians(world.camera.fov / 2))
        self._middle, self._area, self._speed = target[:2], AREA * half, SPEED * half
        self._radius = RADIUS * half
        self._bodies = [self._add(COLOURS[number % len(COLOURS)]) for number in range(count)]
        self._place = self._velocity = np.zeros((count, 2))

    def scatter(self, rng: np.random.Generator) -> None:
        """Put every ball anywhere, rolling."""
        shape = self._place.shape
        self._velocity = self._speed * rng.standard_normal(shape)
        self._put(rng.uniform(-self._area, self._area, shape))

    def roll(self, rng: np.random.Generator) -> None:
        """Let one raw step pass: a random walk that turns back at the border."""
        keep = exp(-self._dt / MEMORY)
        push = sqrt(1 - keep**2) * self._speed * rng.standard_normal(self._place.shape)
        self._velocity = keep * self._velocity + push
        place = self._place + self._velocity * self._dt
        beyond = np.abs(place) > self._area
        self._velocity = np.where(beyond, -self._velocity, self._velocity)
        self._put(np.clip(place, -self._area, self._area))

    def save(self) -> tuple[Array, Array]:
        """Return where the balls are and how they roll."""
        return self._place.copy(), self._velocity.copy()

    def restore(self, saved: tuple[Array, Array]) -> None:
        """Bring the balls back."""
        place, velocity = saved
        self._velocity = velocity.copy()
        self._put(place.copy())

    def _add(self, colour: Colour) -> int:
        """Add a ball that touches nothing."""
        bullet, client = self._world.bullet, self._world.client
        shape = bullet.createVisualShape(
            bullet.GEOM_SPHERE,
            radius=self._radius,
            rgbaColor=(*colour, 1.0),
            physicsClientId=client,
        )
        body: int = bullet.createMultiBody(0.0, -1, shape, physicsClientId=client)
        return body

    def _put(self, place: Array) -> None:
        """Show the balls at places (N, 2) about the middle."""
        self._place = place
        for body, (x, y) in zip(self._bodies, self._middle + place, strict=True):
            self._world.bullet.resetBasePositionAndOrientation(
                body, (x, y, self._radius), (0, 0, 0, 1), physicsClientId=self._world.client
            )

# SPDX-License-Identifier: Apache-2.0
"""
A red arrow on a white canvas that moves and turns; each of its coordinates may be commanded.

Every step moves x, y and heading; what is not commanded moves at random. At 64 px it is the sprite
of the paper, except that headings start within an arc: inferring turns over a full circle takes
hours of training on a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from smwm_ros.interfaces import Array
from smwm_ros.toys.dots import Moves

RED = (230, 30, 30)
ARC = 0.8  # of the heading before a step, to either side of the right [rad]
TURN = 1.067  # largest turn in a step [rad]
SHAPE = np.array([(1.6, 0.0), (-0.9, 1.0), (-0.9, -1.0)])  # of the arrow, heading to the right
FINE = 4  # pixels are drawn this much finer and averaged
NAMES = ('x', 'y', 'heading')


class Arrow(NamedTuple):
    """The commanded ones of x, y and heading; without any, a lever that moves nothing."""

    controlled: tuple[str, ...]

    @property
    def actions(self) -> tuple[str, ...]:
        """Name the numbers of an action; a robot has at least one."""
        return self.controlled or ('lever',)

    @property
    def states(self) -> tuple[str, ...]:
        """Name the numbers of a state."""
        return NAMES

    def limit(self, size: int) -> tuple[float, ...]:
        """Return the largest action [px, px, rad]."""
        step = size / 8
        most = {'x': step, 'y': step, 'heading': TURN, 'lever': step}
        return tuple(most[name] for name in self.actions)

    def draw(self, rng: np.random.Generator, count: int, size: int) -> Moves:
        """Draw transitions on a canvas of so many pixels a side."""
        middle, room, step = size / 2 - 0.5, size / 6, size / 8
        most = np.array([step, step, TURN])
        before = np.stack(
            [
                *rng.uniform(middle - room, middle + room, (2, count)),
                rng.uniform(-ARC, ARC, count),
            ],
            axis=1,
        )
        move = rng.uniform(-most, most, (count, 3))
        lever = rng.uniform(-step, step, (count, 1))
        poses = np.stack([before, before + move], axis=1)  # (n, 2, 3)
        commanded = [NAMES.index(name) for name in self.controlled]
        frames = np.stack([paint(pose, size) for pose in poses.reshape(-1, 3)])
        return Moves(
            frames.reshape(count, 2, size, size, 3),
            (move[:, commanded] if commanded else lever).astype(np.float32),
            poses.astype(np.float32),
        )


def paint(pose: Array, size: int) -> Array:
    """Return a white canvas (S, S, 3) with an arrow at x, y [px] that heads to an angle [rad]."""
    x, y, heading = pose
    turn = np.array([(np.cos(heading), -np.sin(heading)), (np.sin(heading), np.cos(heading))])
    corners = (SHAPE * max(size * 7.5 / 64, 5.0)) @ turn.T + (x, y)
    canvas = np.full((FINE * size, FINE * size, 3), 255, np.uint8)
    cv2.fillConvexPoly(canvas, ((corners + 0.5) * FINE - 0.5).round().astype(np.int32), RED)
    fine: Array = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return fine

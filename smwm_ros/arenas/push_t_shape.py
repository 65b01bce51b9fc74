# SPDX-License-Identifier: Apache-2.0
"""The geometry of the T, and the free space around it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array

RADIUS = 0.06  # of the pusher [m]
BAR = np.array([0.24, 0.06])  # half extents of the bar of the T [m]
STEM = np.array([0.06, 0.18])
WEIGHT = BAR.prod() / (BAR.prod() + STEM.prod())  # share of the bar in the mass
_APART = BAR[1] + STEM[1]  # distance of the centres of bar and stem [m]
BAR_Y = (1 - WEIGHT) * _APART  # of the bar's centre; the origin is the centre of mass [m]
STEM_Y = -WEIGHT * _APART
CENTRES = np.array([[0.0, BAR_Y], [0.0, STEM_Y]])  # (2, 2) of bar and stem
HALVES = np.array([BAR, STEM])  # (2, 2)
# Moment of inertia over mass: the square of the radius of gyration [m2].
GYRATION = float(
    np.array([WEIGHT, 1 - WEIGHT]) @ ((HALVES**2).sum(axis=1) / 3 + (CENTRES**2).sum(axis=1))
)


class Pose(NamedTuple):
    """Position and angle of the block."""

    x: float
    y: float
    angle: float

    @classmethod
    def of(cls, state: Array) -> Pose:
        """Return the block's pose in a state (6,)."""
        return cls(float(state[2]), float(state[3]), float(np.arctan2(state[5], state[4])))

    def inside(self, points: Array) -> Array:
        """Transform points (..., 2) from the table frame to the block frame."""
        inside: Array = (points - np.array([self.x, self.y])) @ self._turn()
        return inside

    def outside(self, points: Array) -> Array:
        """Transform points (..., 2) from the block frame to the table frame."""
        outside: Array = points @ self._turn().T + np.array([self.x, self.y])
        return outside

    def _turn(self) -> Array:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]])


def clearance(points: Array) -> Array:
    """Return the distance of points (..., 2) in the block frame to the block, 0 inside [m]."""
    beyond = np.maximum(np.abs(points[..., None, :] - CENTRES) - HALVES, 0.0)
    distance: Array = np.linalg.norm(beyond, axis=-1).min(axis=-1)
    return distance


def wall_gap(pose: Pose, half: float) -> float:
    """Return the distance of the block to the walls of a square of this half width [m]."""
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    corners = (CENTRES[:, None] + signs * HALVES[:, None]).reshape(-1, 2)
    return half - float(np.abs(pose.outside(corners)).max())


def blocked(starts: Array, ends: Array, margin: float) -> Array:
    """
    Return which straight lines from starts (..., 2) to ends (..., 2) cross the block.

    All points are in the block frame; the block is enlarged by a margin [m] on all sides.
    """
    along = (ends - starts)[..., None, :]  # (..., 1, 2)
    along = np.where(np.abs(along) < 1e-12, 1e-12, along)
    reach = HALVES + margin  # (2, 2)
    near, far = CENTRES - reach - starts[..., None, :], CENTRES + reach - starts[..., None, :]
    one, other = near / along, far / along
    enter = np.minimum(one, other).max(axis=-1)  # (..., 2): shares of the line
    leave = np.maximum(one, other).min(axis=-1)
    hits: Array = ((enter < leave) & (leave > 0.0) & (enter < 1.0)).any(axis=-1)
    return hits

# SPDX-License-Identifier: Apache-2.0
"""
The strict tolerances: each axis of a goal is inside a tolerance by itself.

What counts as the goal is that of the arena's distance(): the heading of a differential drive and
the gripper beside the cube do not matter. The axes are read off the measured state, so they are
those of both engines and of randomised arenas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from smwm_ros.arenas import cube, push_t, reacher, rooms
from smwm_ros.interfaces import Array


class Axis(NamedTuple):
    """One axis of a goal: a length, an angle, or an angle stored as cosine and sine."""

    name: str
    columns: tuple[int, ...]  # of the measured state; two hold cosine and sine
    tolerance: float  # of the arena [m or rad]
    unit: str = 'm'

    def error(self, here: Array, there: Array) -> float:
        """Return how far two states (P,) are apart on this axis, over the tolerance."""
        apart = self._value(here) - self._value(there)
        if self.unit == 'rad':
            apart = float(np.remainder(apart + np.pi, 2 * np.pi) - np.pi)
        return abs(apart) / self.tolerance

    def _value(self, state: Array) -> float:
        """Return the length or the angle in a state."""
        if len(self.columns) == 1:
            return float(state[self.columns[0]])
        cos, sin = self.columns
        return float(np.arctan2(state[sin], state[cos]))


_PLACE = (Axis('x', (0,), rooms.REACHED), Axis('y', (1,), rooms.REACHED))
_JOINTS = tuple(
    Axis(name, (column,), reacher.REACHED, 'rad') for column, name in enumerate(reacher.JOINTS)
)
AXES: Mapping[str, tuple[Axis, ...]] = {
    'two_room': _PLACE,
    'two_room_differential': _PLACE,
    'reacher': _JOINTS,
    'reacher_torque': _JOINTS,
    'push_t': (
        Axis('pusher x', (0,), push_t.NEAR),
        Axis('pusher y', (1,), push_t.NEAR),
        Axis('block x', (2,), push_t.NEAR),
        Axis('block y', (3,), push_t.NEAR),
        Axis('block angle', (4, 5), push_t.TURNED, 'rad'),
    ),
    'cube': tuple(
        Axis(f'cube {name}', (4 + number,), cube.REACHED) for number, name in enumerate('xyz')
    ),
}


def strict_judge(axes: Sequence[Axis], share: float) -> Callable[[Array, Array], bool]:
    """Return the function that judges whether a state (P,) is strictly at a goal (P,)."""

    def judge(state: Array, goal: Array) -> bool:
        return all(axis.error(state, goal) <= share for axis in axes)

    return judge


def strict_tolerances(axes: Sequence[Axis], share: float) -> str:
    """Return the tolerance of each axis in words."""
    return ', '.join(f'{axis.name} {share * axis.tolerance:.2g} {axis.unit}' for axis in axes)

# SPDX-License-Identifier: Apache-2.0
"""
Dots on a white canvas, some of which move as commanded.

Everything scales with the canvas; at 64 px it is the dot world of the paper: filled circles of
radius 2, placed where a move of up to 16 px leaves them on the canvas, and never on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from smwm_ros.interfaces import Array

COLOURS = ((255, 0, 0), (0, 0, 255), (0, 160, 0), (230, 190, 0), (200, 0, 200), (0, 170, 200))
RANDOM = -1  # the group of a dot that moves by chance


class Moves(NamedTuple):
    """Transitions drawn independently of each other."""

    pixels: Array  # (n, 2, S, S, 3) uint8, before and after
    action: Array  # (n, A) float32
    state: Array  # (n, 2, P) float32


class Dots(NamedTuple):
    """Dots that share an action move as one; the group of a dot counts from 0, or is RANDOM."""

    groups: tuple[int, ...]

    @property
    def actions(self) -> tuple[str, ...]:
        """Name the numbers of an action."""
        return tuple(f'{axis}{group}' for group in range(1 + max(self.groups)) for axis in 'xy')

    @property
    def states(self) -> tuple[str, ...]:
        """Name the numbers of a state."""
        return tuple(f'{axis} of dot {dot}' for dot in range(len(self.groups)) for axis in 'xy')

    def limit(self, size: int) -> tuple[float, ...]:
        """Return the largest action."""
        return (float(size // 4),) * len(self.actions)

    def draw(self, rng: np.random.Generator, count: int, size: int) -> Moves:
        """Draw transitions on canvases of size x size pixels."""
        reach, radius = size // 4, _radius(size)
        before = np.empty((count, len(self.groups), 2), np.int64)  # x, y of each dot [px]
        move = np.empty_like(before)
        open_ = np.arange(count)  # sets whose dots still overlap
        while len(open_):
            low, high = reach + radius, size - reach - radius
            before[open_] = rng.integers(low, high, (len(open_), len(self.groups), 2))
            move[open_] = self._move(rng, len(open_), reach)
            apart = _apart(before[open_], 2 * radius + 1)
            apart &= _apart(before[open_] + move[open_], 2 * radius + 1)
            open_ = open_[~apart]
        places = np.stack([before, before + move], axis=1)  # (n, 2, dots, 2)
        led = [self.groups.index(group) for group in range(1 + max(self.groups))]
        return Moves(
            paint(places.reshape(2 * count, -1, 2), size).reshape(count, 2, size, size, 3),
            move[:, led].reshape(count, -1).astype(np.float32),
            places.reshape(count, 2, -1).astype(np.float32),
        )

    def _move(self, rng: np.random.Generator, count: int, reach: int) -> Array:
        """Draw the displacements (n, dots, 2); those of a group are the same."""
        own = rng.integers(-reach, reach + 1, (count, len(self.groups), 2))
        first = [
            dot if group == RANDOM else self.groups.index(group)
            for dot, group in enumerate(self.groups)
        ]
        move: Array = own[:, first]
        return move


def paint(places: Array, size: int, colours: Sequence[tuple[int, ...]] = COLOURS) -> Array:
    """Return white canvases (n, S, S, 3) with dots at whole pixels (n, dots, 2)."""
    radius = _radius(size)
    stamp = np.zeros((2 * radius + 1, 2 * radius + 1), np.uint8)
    cv2.circle(stamp, (radius, radius), radius, 1, -1)
    rows, columns = (at - radius for at in np.nonzero(stamp))
    canvas = np.full((len(places), size, size, 3), 255, np.uint8)
    number = np.arange(len(places))[:, None]
    for dot, colour in zip(range(places.shape[1]), colours, strict=False):
        x, y = places[:, dot, 0, None], places[:, dot, 1, None]
        canvas[number, y + rows, x + columns] = colour
    return canvas


def _radius(size: int) -> int:
    """Return the radius of a dot; a smaller one is lost on a small canvas."""
    return max(size // 32, 2)


def _apart(places: Array, distance: int) -> Array:
    """Return whether all dots of each set (n, dots, 2) are at least `distance` apart (n,)."""
    away = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    away += distance * np.eye(places.shape[1])
    apart: Array = (away >= distance).all(axis=(1, 2))
    return apart

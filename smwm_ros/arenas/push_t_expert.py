# SPDX-License-Identifier: Apache-2.0
"""
The expert of the T: it moves round the block to the best contact point, and pushes there.

A push with force f at r on the rim moves a quasi-static block by f and turns it by
r x f / gyration, up to a common scale. Of points all around the rim, the expert takes the one with
the smallest cost: the error that its push would leave, plus the length of the way there. It uses
the state alone, and decides again in every step.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from smwm_ros.arenas.push_t_shape import (
    BAR,
    BAR_Y,
    blocked,
    clearance,
    GYRATION,
    Pose,
    RADIUS,
    STEM,
    STEM_Y,
)
from smwm_ros.interfaces import Array

AWAY = RADIUS + 0.015  # distance of a station from the rim [m]
ROUND = RADIUS + 0.03  # distance of waypoints from the block's corners, in x and in y [m]
GRAZE = RADIUS + 0.006  # ways closer than this count as touching the block [m]
ARM = 0.25  # distance that costs as much as an error of 1 rad [m]
DETOUR = 0.12  # error that costs as much as a way of 1 m [m]
PLACED, TURNED = 0.025, 0.12  # errors at which the block needs no more pushes [m], [rad]


def _rim() -> tuple[Array, Array]:
    """Return points on the rim (n, 2) and their outward normals (n, 2)."""
    top, low = BAR_Y + BAR[1], BAR_Y - BAR[1]
    wide, thin, foot = BAR[0], STEM[0], STEM_Y - STEM[1]
    notch = thin + RADIUS + 0.02  # from here on the pusher fits beside the stem
    faces = [
        ((-wide, top), (wide, top), (0, 1)),
        ((wide, top), (wide, low), (1, 0)),
        ((-wide, top), (-wide, low), (-1, 0)),
        ((notch, low), (wide, low), (0, -1)),
        ((-notch, low), (-wide, low), (0, -1)),
        ((thin, low - RADIUS - 0.02), (thin, foot), (1, 0)),
        ((-thin, low - RADIUS - 0.02), (-thin, foot), (-1, 0)),
        ((-thin, foot), (thin, foot), (0, -1)),
    ]
    places, outward = [], []
    for begin, end, normal in faces:
        length = np.hypot(end[0] - begin[0], end[1] - begin[1])
        for part in np.linspace(0.0, 1.0, max(3, round(length / 0.03)))[1:-1]:
            places.append(np.array(begin) + part * (np.array(end) - begin))
            outward.append(normal)
    return np.array(places), np.array(outward, float)


PLACES, OUTWARD = _rim()
STATIONS = PLACES + AWAY * OUTWARD  # where the pusher starts a push
_LEVER = PLACES[:, 1] * OUTWARD[:, 0] - PLACES[:, 0] * OUTWARD[:, 1]  # r x f, with f inwards
_PUSH = np.column_stack([-OUTWARD, ARM * _LEVER / GYRATION])  # (n, 3): x, y, turn by ARM [m]
_REACH = 1 + _LEVER**2 / GYRATION  # travel of the pusher while the block slides by 1 m [m]
_CORNERS = np.array(
    [
        [side * (half[0] + ROUND), y + up * (half[1] + ROUND)]
        for half, y, ups in ((BAR, BAR_Y, (-1, 1)), (STEM, STEM_Y, (-1,)))
        for up in ups
        for side in (-1, 1)
    ]
)


def _straight_lengths(starts: Array, ends: Array) -> Array:
    """Return the lengths (n, m) of straight ways; inf if the block is in between."""
    starts = starts[:, None]
    length: Array = np.linalg.norm(starts - ends, axis=-1)
    length[blocked(starts, ends, GRAZE)] = np.inf
    return length


@cache
def _shortest(usable: tuple[bool, ...]) -> Array:
    """Return the lengths (c, c) of the shortest ways between corners, over usable corners."""
    both = np.array(usable)[:, None] & np.array(usable)
    ways: Array = np.where(both, _BETWEEN, np.inf)
    for via in range(len(ways)):
        ways = np.minimum(ways, ways[:, [via]] + ways[[via]])
    return ways


_SPOTS = np.concatenate([_CORNERS, STATIONS])
_BETWEEN = _straight_lengths(_CORNERS, _CORNERS)  # (c, c)
_TO_STATIONS = _straight_lengths(_CORNERS, STATIONS)  # (c, n)


def expert_velocity(state: Array, goal: Array, speed: float, dt: float, half: float) -> Array:
    """Return the pusher's velocity (2,) at a state (6,) for a goal (6,) [m/s]."""
    block, target, pusher = Pose.of(state), Pose.of(goal), state[:2]
    here = block.inside(pusher)
    shift = block.inside(goal[2:4])
    turn = float(np.remainder(target.angle - block.angle + np.pi, 2 * np.pi) - np.pi)
    paths = PushPaths(here, block, half - RADIUS)
    if np.hypot(*shift) < PLACED and abs(turn) < TURNED:
        step = paths.towards(block.inside(goal[:2]))
    else:
        step = _push(paths, np.array([*shift, ARM * turn]))
    velocity: Array = (block.outside(step) - block.outside(np.zeros(2))) / dt
    return velocity * min(1.0, speed / max(float(np.abs(velocity).max()), 1e-9))


class PushPaths:
    """The pusher's ways around the block, in the block frame."""

    def __init__(self, here: Array, block: Pose, half: float) -> None:
        self.here = here
        # A pusher that touches the block already may leave along the rim.
        self._margin = min(GRAZE, float(clearance(here)) - 0.002)
        between_walls = np.abs(block.outside(_SPOTS)).max(axis=-1) <= half
        straight = self._straight(_SPOTS)
        count = len(_CORNERS)
        open_, self.reachable = between_walls[:count], between_walls[count:]  # (c,), stations (n,)
        self._between = _shortest(tuple(open_.tolist()))
        self._first = np.where(open_, straight[:count], np.inf)
        self._direct = straight[count:]

    def lengths(self) -> Array:
        """Return the length of the shortest way to each station (n,)."""
        corners = (self._first[:, None] + self._between).min(axis=0)  # (c,) to each corner
        round_ = (corners[:, None] + _TO_STATIONS).min(axis=0)
        ways: Array = np.minimum(self._direct, round_)
        return ways

    def towards(self, end: Array) -> Array:
        """Return the move (2,) to an end point, or to the first corner on the way to it."""
        if not blocked(self.here, end[None], self._margin)[0]:
            return end - self.here
        last = _straight_lengths(_CORNERS, end[None])[:, 0]
        corners = self._first + (self._between + last).min(axis=1)
        best = int(np.argmin(corners))
        return (_CORNERS[best] if np.isfinite(corners[best]) else end) - self.here

    def _straight(self, ends: Array) -> Array:
        """Return the lengths of straight ways from here; inf if the block is in between."""
        lengths: Array = np.linalg.norm(ends - self.here, axis=1)
        lengths[blocked(self.here, ends, self._margin)] = np.inf
        return lengths


def _push(paths: PushPaths, error: Array) -> Array:
    """Return the next move (2,) of the pusher: to the best station, or a push from there."""
    length = np.maximum(_PUSH @ error, 0.0) / (_PUSH**2).sum(axis=1)  # to slide by (n,) [m]
    left = np.linalg.norm(error - length[:, None] * _PUSH, axis=1)
    off = paths.here - STATIONS
    depth = (off * OUTWARD).sum(axis=1)  # from the station outwards
    aside = np.abs(off[:, 0] * OUTWARD[:, 1] - off[:, 1] * OUTWARD[:, 0])
    ready = (aside < 0.012) & (depth < 0.02) & (depth > RADIUS - AWAY - 0.02)
    way = np.where(ready, 0.0, paths.lengths())
    cost = left + DETOUR * way
    cost[~paths.reachable] = np.inf
    cost[left > np.linalg.norm(error) - 0.005] = np.inf
    best = int(np.argmin(cost))
    if not ready[best]:
        return paths.towards(STATIONS[best])
    ahead = max(0.0, depth[best] + AWAY - RADIUS) + length[best] * _REACH[best]
    sideways = STATIONS[best] - paths.here + depth[best] * OUTWARD[best]
    move: Array = sideways - ahead * OUTWARD[best]
    return move

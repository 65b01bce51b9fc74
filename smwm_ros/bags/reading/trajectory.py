# SPDX-License-Identifier: Apache-2.0
"""Sample JointTrajectory messages over time, as a trajectory controller does."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
from smwm_ros.codec.fields import FieldReader
from smwm_ros.interfaces import Array

HEAD = 'points[0].'  # start of the field paths of trajectories
_LONGEST = 600.0  # later points are ignored [s]


def points_of(msg: Any) -> list[tuple[float, Any]]:
    """Return time from start [s] of each point, and a message with only that point."""
    found = []
    for point in getattr(msg, 'points', ()):
        due = getattr(point, 'time_from_start', None)
        seconds = due.sec + due.nanosec / 1e9 if due else 0.0
        found.append((seconds, replace(msg, points=[point])))
    return found


def is_trajectory(read: FieldReader) -> bool:
    """Return whether all fields belong to the first point of a trajectory."""
    return bool(read.paths) and all(path.startswith(HEAD) for path in read.paths)


def sample_trajectory(msg: Any, read: FieldReader, dt: float) -> Array:
    """
    Return the values of a trajectory at the end of each period since its start (n, F).

    They are linear between points, and constant before the first one.
    """
    points = points_of(msg)
    if not points:
        return read(msg)[None]  # raises an error that says so
    values = np.stack([read(point) for _, point in points])
    due = np.maximum.accumulate([seconds for seconds, _ in points])
    count = max(ceil(min(due[-1], _LONGEST) / dt - 1e-6), 1)
    at = dt * np.arange(1, count + 1)
    if len(points) == 1:
        return np.repeat(values, count, axis=0)
    return np.stack([np.interp(at, due, column) for column in values.T], axis=1)

# SPDX-License-Identifier: Apache-2.0
"""Trajectories of several points, read along their time from start as a controller does."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
from smwm_ros.codec.fields import FieldReader
from smwm_ros.interfaces import Array

HEAD = 'points[0].'  # what field paths of trajectories begin with
_LONGEST = 600.0  # a trajectory is read no further [s]


def points_of(msg: Any) -> list[tuple[float, Any]]:
    """Return each point as a trajectory of its own, and when it is due from the start [s]."""
    found = []
    for point in getattr(msg, 'points', ()):
        due = getattr(point, 'time_from_start', None)
        seconds = due.sec + due.nanosec / 1e9 if due else 0.0
        found.append((seconds, replace(msg, points=[point])))
    return found


def is_trajectory(read: FieldReader) -> bool:
    """Tell whether all fields are of the first point of a trajectory."""
    return bool(read.paths) and all(path.startswith(HEAD) for path in read.paths)


def along(msg: Any, read: FieldReader, dt: float) -> Array:
    """
    Return where a trajectory is to be at the end of each period from its start (n, F).

    Between two points it is on the straight line; up to the first one, that is where it goes.
    """
    points = points_of(msg)
    if not points:
        return read(msg)[None]  # which says that there are none
    values = np.stack([read(point) for _, point in points])
    due = np.maximum.accumulate([seconds for seconds, _ in points])
    count = max(ceil(min(due[-1], _LONGEST) / dt - 1e-6), 1)
    at = dt * np.arange(1, count + 1)
    if len(points) == 1:
        return np.repeat(values, count, axis=0)
    return np.stack([np.interp(at, due, column) for column in values.T], axis=1)

# SPDX-License-Identifier: Apache-2.0
"""A plan with times, the largest age of its image, and the result of a control tick."""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros.config import Node
from smwm_ros.control.reasons import Reason
from smwm_ros.control.ticks import ticks_between
from smwm_ros.interfaces import Array

_TICKS = 3  # the image of a plan may be this old where that exceeds image_timeout [periods]


class TimedPlan(NamedTuple):
    """Raw actions, and the time from which they count."""

    actions: Array  # (N, A) physical; row k belongs to [start + k*dt, start + (k+1)*dt)
    image_time: float  # when its image was taken, as far as known [s]
    ready: float  # when planning ended [s]
    era: int  # the controller's era for which it was made
    cost: float = 0.0  # not finite when no sample could be scored
    start: float | None = None  # when its first row is due [s]; None for `image_time`

    def row(self, time: float, dt: float) -> int:
        """Return the row that is due at a time."""
        start = self.image_time if self.start is None else self.start
        return max(0, ticks_between(start, time, dt))


class TickCommand(NamedTuple):
    """What one control tick does."""

    reason: Reason
    action: Array | None  # (A,) to publish; None for no message
    age: float = 0.0  # of the image behind the action [s]
    waited: float = 0.0  # time between the end of planning and this tick [s]


def oldest_image(node: Node, dt: float) -> float:
    """Return how old the image behind a command may be, including known delays [s]."""
    # With long control periods an image is older than image_timeout by the next tick.
    return max(node.image_timeout, _TICKS * dt) + max(node.camera_delay, 0.0)

# SPDX-License-Identifier: Apache-2.0
"""A plan by time, how old its image may be, and what a tick of control does with it."""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros.config import Node
from smwm_ros.control.reasons import Reason
from smwm_ros.control.ticks import ticks_between
from smwm_ros.interfaces import Array

_TICKS = 3  # a slow robot's plans may rest on images older than node.image_timeout by so many


class TimedPlan(NamedTuple):
    """Raw actions and the instant from which they count."""

    actions: Array  # (N, A) physical; row k belongs to [start + k*dt, start + (k+1)*dt)
    seen: float  # when the image it was made from was taken, as far as known [s]
    ready: float  # when it was done [s]
    era: int  # which goal or engagement it was made for
    cost: float = 0.0  # not finite when the planner could score nothing
    start: float | None = None  # when its first row is due, None for `seen`

    def row(self, time: float, dt: float) -> int:
        """Return the row that is due at a time."""
        return max(0, ticks_between(self.seen if self.start is None else self.start, time, dt))


class TickCommand(NamedTuple):
    """What one tick of control does."""

    reason: Reason
    action: Array | None  # None: say nothing
    age: float = 0.0  # of the image that the action answers [s]
    waited: float = 0.0  # how long its plan had been ready [s]


def oldest_image(node: Node, dt: float) -> float:
    """Return how old the image behind a command may be, delays that are known included [s]."""
    # Where ticks are far apart, the image of the last one is old by the next.
    return max(node.image_timeout, _TICKS * dt) + max(node.camera_delay, 0.0)

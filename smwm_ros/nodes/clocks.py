# SPDX-License-Identifier: Apache-2.0
"""What time it is and how to wait for it, on the wall and in simulation."""

from __future__ import annotations

from threading import Event
import time

from rclpy.node import Node

_POLL = 0.002  # how often simulated time is looked at [s of wall time]
_STALL = 1.0  # simulated time that does not move for so long stands still [s of wall time]


class WallClock:
    """Monotonic time: nobody can set it back."""

    def now(self) -> float:
        """Return the time [s]."""
        return time.monotonic()

    def wait(self, deadline: float, wake: Event) -> bool:
        """Wait until the deadline or a wake-up; the clock never stalls, so it is always True."""
        wake.wait(max(0.0, deadline - time.monotonic()))
        return True


class RosClock:
    """The node's clock: simulated time when use_sim_time is set."""

    def __init__(self, node: Node) -> None:
        self._clock = node.get_clock()

    def now(self) -> float:
        """Return the time [s]."""
        seconds: float = self._clock.now().nanoseconds * 1e-9
        return seconds

    def wait(self, deadline: float, wake: Event) -> bool:
        """Wait until the deadline, a wake-up or a jump back; False if time stands still."""
        before = self.now()
        moved = time.monotonic()
        while before < deadline and not wake.wait(_POLL):
            now = self.now()
            if now < before:
                return True
            if now > before:
                before, moved = now, time.monotonic()
            elif time.monotonic() - moved > _STALL:
                return False
        return True


def clock_of(node: Node) -> WallClock | RosClock:
    """Choose by use_sim_time: wall time unless the node is told to follow /clock."""
    return RosClock(node) if node.get_parameter('use_sim_time').value else WallClock()

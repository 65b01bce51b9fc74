# SPDX-License-Identifier: Apache-2.0
"""Read the time and wait for it, in real and in simulated time."""

from __future__ import annotations

from threading import Event
import time

from rclpy.node import Node

_POLL = 0.002  # period of reading simulated time [s of wall time]
_STALL = 1.0  # simulated time that does not advance for this long has stopped [s of wall time]


class WallClock:
    """Monotonic wall time, which is never set back."""

    def now(self) -> float:
        """Return the time [s]."""
        return time.monotonic()

    def wait(self, deadline: float, wake: Event) -> bool:
        """Wait until the deadline or an event; return True, for this clock always advances."""
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
        """Wait until the deadline, an event or a jump back; return False if time has stopped."""
        before = self.now()
        advanced = time.monotonic()
        while before < deadline and not wake.wait(_POLL):
            now = self.now()
            if now < before:
                return True
            if now > before:
                before, advanced = now, time.monotonic()
            elif time.monotonic() - advanced > _STALL:
                return False
        return True


def clock_of(node: Node) -> WallClock | RosClock:
    """Return the clock of a node: simulated time if use_sim_time is set, else wall time."""
    return RosClock(node) if node.get_parameter('use_sim_time').value else WallClock()

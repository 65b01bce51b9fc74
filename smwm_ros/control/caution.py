# SPDX-License-Identifier: Apache-2.0
"""Turn repeated doubts about a drive into slower motion, then into a stop, with hysteresis."""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros.control.reasons import Reason
from smwm_ros.interfaces import Array


class Caution(NamedTuple):
    """How a drive is restricted."""

    slow: bool = False
    stop: Reason | None = None

    def slowed(self, action: Array, rest: Array | None, speed: float) -> Array:
        """Return an action (A,); a slow one is nearer to rest, zero or the last position."""
        if not self.slow or rest is None:
            return action
        slower: Array = rest + speed * (action - rest)
        return slower


class Alarm:
    """Begins with the first measurement that is bad, and ends with the first that is good."""

    def __init__(self, reason: Reason) -> None:
        self._reason = reason
        self._since: float | None = None  # [s]

    def update(self, time: float, bad: bool, good: bool) -> None:
        """Use a measurement at a time [s]; one that is neither bad nor good changes nothing."""
        if good or (self._since is not None and time < self._since):  # time has jumped back
            self._since = None
        if bad and self._since is None:
            self._since = time

    def clear(self) -> None:
        """End the alarm."""
        self._since = None

    def caution(self, time: float, slow_time: float) -> Caution:
        """Return slower motion for the first `slow_time` [s] of the alarm, then a stop."""
        if self._since is None:
            return Caution()
        return Caution(True, self._reason if time - self._since >= slow_time else None)

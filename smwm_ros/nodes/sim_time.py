# SPDX-License-Identifier: Apache-2.0
"""Let simulated time pass at a given real-time factor, and measure the factor."""

from __future__ import annotations

from threading import Event
import time

from smwm_ros.control.ticks import Metronome

_SLICES = 10  # of a raw step; the clock advances after each
_SHORTEST = 0.002  # shortest slice [s of wall time]


class SimTime:
    """
    Lets simulated time pass in slices of a raw step.

    On a machine that is too slow it passes more slowly; no step is skipped.
    """

    def __init__(self, dt: float, factor: float, clock: bool) -> None:
        self.target = factor  # simulated seconds in a second
        self.time = 0  # simulated [ns]
        self._slices = max(1, min(_SLICES, int(dt / factor / _SHORTEST))) if clock else 1
        self._step = round(dt * 1e9)
        self._slice = 0
        self._metronome = Metronome(dt / factor / self._slices, time.monotonic())
        self._measured = (0, time.monotonic())  # simulated [ns] and wall time [s]

    def wait(self, closing: Event) -> bool:
        """Wait for the end of the slice; return False if the node is closing."""
        if closing.wait(max(0.0, self._metronome.deadline - time.monotonic())):
            return False
        self._slice += 1
        self.time = self._step * self._slice // self._slices
        return True

    @property
    def is_step(self) -> bool:
        """Return whether a raw step ends with this slice."""
        return self._slice % self._slices == 0

    def advance(self) -> None:
        """Set the end of the next slice after the work of this one."""
        self._metronome.advance(time.monotonic())

    def factor(self) -> float:
        """Return the simulated seconds in a second since the last call."""
        before, then = self._measured
        self._measured = self.time, time.monotonic()
        return (self._measured[0] - before) * 1e-9 / max(self._measured[1] - then, 1e-9)

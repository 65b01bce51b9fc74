# SPDX-License-Identifier: Apache-2.0
"""Simulated time: how fast it shall pass, and how fast it does."""

from __future__ import annotations

from threading import Event
import time

from smwm_ros.control.ticks import Metronome

_SLICES = 10  # of a raw step, each of which moves the clock on
_SHORTEST = 0.002  # a slice lasts no shorter [s of wall time]


class SimTime:
    """
    Lets simulated time pass in slices of a raw step.

    A machine that is too slow makes it pass more slowly; nothing is skipped or made up.
    """

    def __init__(self, dt: float, factor: float, clock: bool) -> None:
        self.asked_for = factor
        self.time = 0  # simulated [ns]
        self._slices = max(1, min(_SLICES, int(dt / factor / _SHORTEST))) if clock else 1
        self._step = round(dt * 1e9)
        self._slice = 0
        self._beat = Metronome(dt / factor / self._slices, time.monotonic())
        self._told = (0, time.monotonic())

    def wait(self, closing: Event) -> bool:
        """Wait until the next slice is over; False when it is time to close."""
        if closing.wait(max(0.0, self._beat.deadline - time.monotonic())):
            return False
        self._slice += 1
        self.time = self._step * self._slice // self._slices
        return True

    @property
    def is_step(self) -> bool:
        """Say whether a raw step is over with this slice."""
        return self._slice % self._slices == 0

    def advance(self) -> None:
        """Set the end of the next slice, once the work of this one is done."""
        self._beat.advance(time.monotonic())

    def factor(self) -> float:
        """Return simulated seconds in a second, since this was asked last."""
        before, then = self._told
        self._told = self.time, time.monotonic()
        return (self._told[0] - before) * 1e-9 / max(self._told[1] - then, 1e-9)

# SPDX-License-Identifier: Apache-2.0
"""
The grid of ticks on which a recording is laid. All stamps are integers [ns].

A run of frames no further apart than a gap gets a grid of its own, with a tick every dt. The frame
of a tick is the last one at or before it. A grid begins at the first frame of its run. That will
not do where frames come about as often as ticks: they jitter around the ticks then, and one tick
would repeat a frame while the next skips one. Such a grid is shifted by the phase with which
fewest frames repeat, the freshest among those.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.interfaces import Array

_PHASES = 64  # phases of a grid that are tried


class FrameGate:
    """Tells, while frames stream by, which of them the grid needs; the others are not decoded."""

    def __init__(self, dt: int, gap: int) -> None:
        self._dt = dt
        self._gap = gap
        self._first = 0  # stamp that the current grid begins at
        self._last: int | None = None

    def next(self, stamp: int) -> bool:
        """Take the stamp of the next frame; return whether the one before it is needed."""
        last, self._last = self._last, stamp
        if last is None:
            self._first = stamp
            return False
        if stamp - last > self._gap:
            needed = (last - self._first) % self._dt == 0
            self._first = stamp
            return needed
        tick = last + (self._first - last) % self._dt  # the first one at or after the frame
        return tick < stamp

    def end(self) -> bool:
        """Return whether the last frame is needed, and begin anew."""
        last, self._last = self._last, None
        return last is not None and (last - self._first) % self._dt == 0


def ticks(frames: Array, dt: int, gap: int, shift: bool = False) -> tuple[Array, Array, Array]:
    """Return stamp, frame index and run number of every tick, each (m,); frames rise (n,)."""
    if not len(frames):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    cuts = np.flatnonzero(np.diff(frames) > gap) + 1
    firsts = frames[np.concatenate([[0], cuts])]
    lasts = frames[np.concatenate([cuts - 1, [len(frames) - 1]])]
    counts = (lasts - firsts) // dt + 1
    if shift:
        runs = np.split(frames, cuts)
        phases = [_phase(mine, dt, gap, count) for mine, count in zip(runs, counts, strict=True)]
        firsts = firsts + np.array(phases, np.int64)
    run = np.repeat(np.arange(len(firsts)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    stamp = firsts[run] + number * dt
    return stamp, np.searchsorted(frames, stamp, side='right') - 1, run


def _phase(frames: Array, dt: int, gap: int, count: int) -> int:
    """Return how much later than the first frame of a run its count ticks should begin."""
    grid = frames[0] + dt * np.arange(count)

    def cost(phase: int) -> tuple[int, int]:
        shown = frames[np.searchsorted(frames, grid + phase, side='right') - 1]
        return int((np.diff(shown) == 0).sum()), int((grid + phase - shown).sum())

    # No tick comes later than a gap after the last frame.
    return min(range(0, min(dt, gap + 1), max(dt // _PHASES, 1)), key=cost)

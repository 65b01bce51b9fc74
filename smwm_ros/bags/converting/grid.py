# SPDX-License-Identifier: Apache-2.0
"""
Compute the ticks to which a recording is aligned. All stamps are integers [ns].

Each run of frames without a gap has its own grid, with a tick every dt. The frame of a tick is the
last one at or before it. A grid starts at the first frame of its run. If the camera is about as
fast as the ticks, its frames jitter around them, and some ticks would repeat a frame while others
skip one. Then the grid is shifted by the phase with the fewest repeated frames, and among those
the one with the newest frames.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.interfaces import Array

_PHASES = 64  # candidate phases of a grid


class FrameGate:
    """Decide while a bag is read which frames the grid needs; the others are not decoded."""

    def __init__(self, dt: int, gap: int) -> None:
        self._dt = dt
        self._gap = gap
        self._first = 0  # stamp of the first tick of the current grid
        self._last: int | None = None

    def next(self, stamp: int) -> bool:
        """Add the stamp of the next frame; return whether the frame before it is needed."""
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
        """Return whether the last frame is needed, and reset."""
        last, self._last = self._last, None
        return last is not None and (last - self._first) % self._dt == 0


def ticks(frames: Array, dt: int, gap: int, shift: bool = False) -> tuple[Array, Array, Array]:
    """Return stamp, frame index and run number of each tick (m,); frames (n,) are ascending."""
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
    """Return the offset [ns] of the `count` ticks of a run from its first frame."""
    grid = frames[0] + dt * np.arange(count)

    def cost(phase: int) -> tuple[int, int]:
        shown = frames[np.searchsorted(frames, grid + phase, side='right') - 1]
        return int((np.diff(shown) == 0).sum()), int((grid + phase - shown).sum())

    # The last tick is at most a gap after the last frame.
    return min(range(0, min(dt, gap + 1), max(dt // _PHASES, 1)), key=cost)

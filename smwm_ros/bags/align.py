# SPDX-License-Identifier: Apache-2.0
"""
From stamped frames, commands and states to rows on an even grid of ticks.

A run of frames no further apart than `max_frame_age` begins a grid at its first frame, with a tick
every dt. The frame of a tick is the last one at or before it, never a later one; the raw action
of a tick comes from the commands heard from the tick until the next. All stamps are integers [ns].
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.config import Dataset
from smwm_ros.core.interfaces import Array


class Track(NamedTuple):
    """The numbers of one topic over time."""

    stamps: Array  # (n,) int64, never falling [ns]
    values: Array  # (n, F) float64


class Rows(NamedTuple):
    """What is kept of a recording: m ticks in episodes."""

    frame: Array  # (m,) index of the frame
    action: Array  # (m, A)
    state: Array  # (m, P)
    stamp: Array  # (m,) int64 of the tick [ns]
    episodes: list[tuple[int, int]]  # first row, and one past the last
    dropped: dict[str, int]  # ticks, by reason
    held: int  # ticks whose action is an older command
    zeroed: int  # ticks whose action is zero because the command was too old


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


def nanoseconds(seconds: float) -> int:
    """Turn seconds into whole nanoseconds."""
    return round(seconds * 1e9)


def ticks(frames: Array, dt: int, gap: int) -> tuple[Array, Array, Array]:
    """Return stamp, frame index and run number of every tick, each (m,); frames rise (n,)."""
    if not len(frames):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    cuts = np.flatnonzero(np.diff(frames) > gap) + 1
    firsts = frames[np.concatenate([[0], cuts])]
    lasts = frames[np.concatenate([cuts - 1, [len(frames) - 1]])]
    counts = (lasts - firsts) // dt + 1
    run = np.repeat(np.arange(len(firsts)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    stamp = firsts[run] + number * dt
    return stamp, np.searchsorted(frames, stamp, side='right') - 1, run


def align(
    frames: Array, good: Array, commands: Track, states: Track, dt: int, config: Dataset
) -> Rows:
    """Lay a recording on the grid: frames (n,) rise, and good (n,) tells which can be shown."""
    stamp, frame, run = ticks(frames, dt, nanoseconds(config.max_frame_age))
    action, command_age = _actions(commands, stamp, dt, config.action)
    state, state_age = _latest(states, stamp)
    late = command_age > nanoseconds(config.hold)
    if config.after_hold == 'zero':
        action[late] = 0.0
    dropped: dict[str, int] = {}
    keep = np.ones(len(stamp), bool)

    def drop(why: str, where: Any) -> None:
        dropped[why] = int((keep & where).sum())
        keep[where] = False

    drop('the frame cannot be decoded', ~good[frame])
    if config.after_hold == 'drop':
        drop('no command was heard in time', late)
    drop('the command is not a number', ~np.isfinite(action).all(1))
    if states.values.shape[1]:
        drop('no state was measured in time', state_age > nanoseconds(config.max_frame_age))
        drop('the state is not a number', ~np.isfinite(state).all(1))
    shortest = max(config.min_length, config.action_block + 1)
    episodes = _episodes(keep, run, shortest)
    inside = np.zeros(len(stamp), bool)
    for start, stop in episodes:
        inside[start:stop] = True
    drop(f'in a stretch of fewer than {shortest} ticks', ~inside)
    held = keep & (command_age > 0) & ~late
    zeroed = keep & late
    lengths = np.array([stop - start for start, stop in episodes], dtype=int)
    stops = np.cumsum(lengths)
    spans = list(zip((stops - lengths).tolist(), stops.tolist(), strict=True))
    columns = (frame[keep], action[keep], state[keep], stamp[keep])
    return Rows(*columns, spans, dropped, int(held.sum()), int(zeroed.sum()))


def _actions(commands: Track, stamp: Array, dt: int, policy: str) -> tuple[Array, Array]:
    """Return raw actions (m, A) and the age of those that are held (m,); fresh ones have age 0."""
    first = np.searchsorted(commands.stamps, stamp, side='left')
    stop = np.searchsorted(commands.stamps, stamp + dt, side='left')
    fresh = stop > first
    action, age = _latest(commands, stamp - 1)
    age[fresh] = 0
    if policy == 'sum':
        action[~fresh & (age < _NEVER)] = 0.0  # increments that were not commanded
    begin, end = first[fresh], stop[fresh]
    if policy == 'last':
        action[fresh] = commands.values[end - 1]
    elif policy == 'first':
        action[fresh] = commands.values[begin]
    elif len(begin):
        # reduceat sums between neighbouring indices; every other sum lies between two ticks.
        padded = np.concatenate([commands.values, np.zeros((1, commands.values.shape[1]))])
        total = np.add.reduceat(padded, np.stack([begin, end], 1).ravel(), axis=0)[::2]
        action[fresh] = total / (end - begin)[:, None] if policy == 'mean' else total
    return action, age


_NEVER = np.iinfo(np.int64).max  # the age of what never came [ns]


def _latest(track: Track, stamp: Array) -> tuple[Array, Array]:
    """Return the last values at or before each tick (m, F), and how old they are (m,) [ns]."""
    index = np.searchsorted(track.stamps, stamp, side='right') - 1
    values = np.zeros((len(stamp), track.values.shape[1]))
    age = np.full(len(stamp), _NEVER)
    known = index >= 0
    values[known] = track.values[index[known]]
    age[known] = stamp[known] - track.stamps[index[known]]
    return values, age


def _episodes(keep: Array, run: Array, shortest: int) -> list[tuple[int, int]]:
    """Return the stretches of kept ticks within one run that are long enough."""
    label = np.where(keep, run, -1)
    cuts = np.flatnonzero(np.diff(label)) + 1
    bounds = np.concatenate([[0], cuts, [len(label)]]).astype(int).tolist()
    return [
        (start, stop)
        for start, stop in pairwise(bounds)
        if stop - start >= shortest and label[start] >= 0
    ]

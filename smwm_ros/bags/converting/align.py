# SPDX-License-Identifier: Apache-2.0
"""
Align stamped frames, commands and states to ticks of a fixed period.

The raw action of a tick comes from the commands between this tick and the next. Its frame and its
state are the latest ones before it. Where frames jitter, a tick comes after the latest frame, but
its commands count from the earliest frame on: a command may be the reaction to an early frame.
All stamps are integers [ns].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.bags.converting.grid import ticks
from smwm_ros.bags.reading.clock import nanoseconds
from smwm_ros.config import Dataset
from smwm_ros.data.dataset import UNMEASURED
from smwm_ros.interfaces import Array

NO_COMMAND = 'no command was received in time'  # reason for dropping a tick
UNKNOWN = 'ticks without a known action'


class Track(NamedTuple):
    """The numbers of one topic over time."""

    stamps: Array  # (n,) int64, ascending or equal [ns]
    values: Array  # (n, F) float64


class ViewTrack(NamedTuple):
    """The frames of a further camera over time."""

    topic: str
    stamps: Array  # (n,) int64, ascending [ns]
    good: Array  # (n,) bool, which can be decoded
    sizes: Array  # (n,) a number that changes where the size of the images changes


class AlignedRows(NamedTuple):
    """The ticks (m,) of a recording that are kept, in episodes."""

    frame: Array  # (m,) index of the frame
    others: list[Array]  # (m,) of the frame of each further camera
    action: Array  # (m, A), NaN where it is unknown
    state: Array  # (m, P), NaN where no state was received in time
    stamp: Array  # (m,) int64 of the tick [ns]
    episodes: list[tuple[int, int]]  # first row, and one past the last
    dropped: dict[str, int]  # number of ticks, by reason
    counts: dict[str, int]  # number of ticks that are kept with a remark, by remark
    ages: dict[str, Array]  # (m,) age of each input at the tick [ns]


def align(
    frames: Array,
    good: Array,
    commands: Track,
    states: Track,
    dt: int,
    config: Dataset,
    *,
    shift: bool = False,
    sizes: Array | None = None,
    others: Sequence[ViewTrack] = (),
    marks: Track | None = None,
) -> AlignedRows:
    """
    Align a recording: frames (n,) are ascending stamps, good (n,) marks those that can be decoded.

    shift: give the grid of each run the phase that suits its frames; others: further cameras;
    marks: the number of the episode from each stamp on, negative outside of episodes. An episode
    ends where sizes (n,), which number the sizes of the frames, change.
    """
    max_age = nanoseconds(config.max_frame_age)
    stamp, frame, run = ticks(frames, dt, max_age, shift)
    filtered = TickFilter(len(stamp))
    filtered.drop('the frame cannot be decoded', ~good[frame])
    filtered.ages['frame'] = stamp - frames[frame]
    other_frames = [_other_frame(view, stamp, max_age, filtered) for view in others]
    if sizes is not None:
        run = _cut_runs(run, sizes[frame])
    for view, index in zip(others, other_frames, strict=True):
        run = _cut_runs(run, np.append(view.sizes, 0)[index])  # index -1 where there is no frame
    lead = _lead(filtered.ages['frame'], frame, run) if shift else 0
    action, age = _action(commands, stamp, lead, dt, config, filtered)
    state = _state(states, stamp, max_age, filtered)
    if marks is not None:
        run = _cut_at_marks(marks, stamp, run, filtered)
    shortest = max(config.min_length, config.action_block + 1)
    episodes = _episodes(filtered.keep, run, shortest)
    filtered.drop(f'in a stretch of fewer than {shortest} ticks', _outside(episodes, len(stamp)))
    keep = filtered.keep
    return AlignedRows(
        frame[keep],
        [index[keep] for index in other_frames],
        action[keep],
        state[keep],
        stamp[keep],
        _kept_spans(episodes),
        filtered.dropped,
        _tick_counts(keep, frame, np.isnan(action).any(1), age, state, nanoseconds(config.hold)),
        {name: age[keep] for name, age in filtered.ages.items()},
    )


def _tick_counts(
    keep: Array, frame: Array, unknown: Any, age: Array, state: Array, hold: int
) -> dict[str, int]:
    """Count the ticks that are kept with a remark."""
    remarks = {
        'frames shown again': np.diff(frame, prepend=-1) == 0,
        'actions held': (age > 0) & (age <= hold),
        'actions set to zero': (age > hold) & ~unknown,
        UNKNOWN: unknown,
        UNMEASURED: np.isnan(state).any(1),
    }
    return {name: int((keep & where).sum()) for name, where in remarks.items()}


def _state(states: Track, stamp: Array, max_age: int, tick_filter: TickFilter) -> Array:
    """Return the last measured state at each tick (m, P), NaN if too old or not finite."""
    state, age = _latest(states, stamp)
    if states.values.shape[1]:
        state[(age > max_age) | ~np.isfinite(state).all(1)] = np.nan
        tick_filter.ages['state'] = age
    return state


def _cut_at_marks(marks: Track, stamp: Array, run: Array, tick_filter: TickFilter) -> Array:
    """Split runs at episode marks; return the new run numbers (m,)."""
    mark, age = _latest(marks, stamp)
    mark[age == _MISSING] = -1  # before the first one
    tick_filter.drop('outside of the marked episodes', mark[:, 0] < 0)
    return _cut_runs(run, mark[:, 0])


def _cut_runs(run: Array, number: Array) -> Array:
    """Split runs where a number changes; return the new run numbers (m,)."""
    pieces: Array = np.cumsum((np.diff(run, prepend=0) != 0) | (np.diff(number, prepend=0) != 0))
    return pieces


class TickFilter:
    """Which ticks are kept, and why the others are dropped: each counts for one reason only."""

    def __init__(self, count: int) -> None:
        self.keep = np.ones(count, bool)
        self.dropped: dict[str, int] = {}
        self.ages: dict[str, Array] = {}  # (m,) age of each input at the ticks [ns]

    def drop(self, why: str, where: Any) -> None:
        """Drop the ticks of a mask (m,) for a reason."""
        self.dropped[why] = int((self.keep & where).sum())
        self.keep[where] = False


def _other_frame(view: ViewTrack, stamp: Array, max_age: int, tick_filter: TickFilter) -> Array:
    """Return the index of the frame of a further camera at each tick (m,)."""
    index = np.searchsorted(view.stamps, stamp, side='right') - 1
    known = index >= 0
    age = np.full(len(stamp), _MISSING)
    age[known] = stamp[known] - view.stamps[index[known]]
    tick_filter.drop(f'no frame of {view.topic} in time', age > max_age)
    known[known] = view.good[index[known]]
    tick_filter.drop(f'the frame of {view.topic} cannot be decoded', ~known)
    tick_filter.ages[f'frame of {view.topic}'] = age
    return index


_REPEATS = 0.05  # share of repeated frames above which the camera is slow, not jittery
_EARLIEST = 95  # percentile of the frame ages that is used as the age of the earliest frame


def _lead(age: Array, frame: Array, run: Array) -> Array:
    """Return how long before each tick its interval of commands begins (m,) [ns]."""
    lead = np.zeros(len(age), np.int64)
    fresh = np.diff(frame, prepend=-1) != 0
    for mine in np.split(np.arange(len(run)), np.flatnonzero(np.diff(run)) + 1):
        if len(mine) and 1 - fresh[mine].mean() <= _REPEATS:
            lead[mine] = int(np.percentile(age[mine][fresh[mine]], _EARLIEST))
    return lead


def _action(
    commands: Track,
    stamp: Array,
    lead: Array | int,
    dt: int,
    config: Dataset,
    tick_filter: TickFilter,
) -> tuple[Array, Array]:
    """Return raw actions (m, A) and the age of those that are held (m,); fresh ones have age 0."""
    fresh = np.zeros(len(stamp), np.int64)
    if config.action == 'none':
        return np.full((len(stamp), commands.values.shape[1]), np.nan), fresh

    def drop(why: str, where: Array) -> None:
        if config.after_hold != 'unknown':
            tick_filter.drop(why, where)
        action[where] = np.nan

    if config.action == 'next_state_delta':
        before = _interpolated_state(commands, stamp, config)
        action = _interpolated_state(commands, stamp + dt, config) - before
        drop('the change of state was not measured', ~np.isfinite(action).all(1))
        return action, fresh
    action, age = _aggregate(commands, stamp - lead, dt, config.action)
    tick_filter.ages |= {'command': age} if len(commands.stamps) else {}
    late = age > nanoseconds(config.hold)
    if config.after_hold == 'zero':
        action[late] = 0.0
    else:
        drop(NO_COMMAND, late)
    drop('the command is not a number', ~np.isfinite(action).all(1))
    return action, age


def _interpolated_state(states: Track, stamp: Array, config: Dataset) -> Array:
    """Return the state at each tick (m, F), linear between its neighbours; NaN across a gap."""
    after = np.searchsorted(states.stamps, stamp, side='left')
    before = after - 1
    known = after < len(states.stamps)
    exact = known.copy()
    exact[known] = states.stamps[after[known]] == stamp[known]
    before[exact] = after[exact]
    known &= before >= 0
    values = np.full((len(stamp), states.values.shape[1]), np.nan)
    low, high = before[known], after[known]
    span = states.stamps[high] - states.stamps[low]
    share = (stamp[known] - states.stamps[low]) / np.maximum(span, 1)
    between = states.values[low] + share[:, None] * (states.values[high] - states.values[low])
    values[known] = np.where((span <= nanoseconds(config.max_frame_age))[:, None], between, np.nan)
    return values


def _aggregate(commands: Track, stamp: Array, dt: int, policy: str) -> tuple[Array, Array]:
    """Return raw actions (m, A) and the age of those that are held (m,); fresh ones have age 0."""
    first = np.searchsorted(commands.stamps, stamp, side='left')
    stop = np.searchsorted(commands.stamps, stamp + dt, side='left')
    fresh = stop > first
    action, age = _latest(commands, stamp - 1)
    age[fresh] = 0
    if policy == 'sum':
        action[~fresh & (age < _MISSING)] = 0.0  # increments that were not commanded
    begin, end = first[fresh], stop[fresh]
    if policy == 'last':
        action[fresh] = commands.values[end - 1]
    elif policy == 'first':
        action[fresh] = commands.values[begin]
    elif len(begin):
        # reduceat also returns the sums from each end to the next begin: skip every second one.
        padded = np.concatenate([commands.values, np.zeros((1, commands.values.shape[1]))])
        total = np.add.reduceat(padded, np.stack([begin, end], 1).ravel(), axis=0)[::2]
        action[fresh] = total / (end - begin)[:, None] if policy == 'mean' else total
    return action, age


_MISSING = np.iinfo(np.int64).max  # age where nothing was received yet [ns]


def _latest(track: Track, stamp: Array) -> tuple[Array, Array]:
    """Return the last values at or before each tick (m, F), and their ages (m,) [ns]."""
    index = np.searchsorted(track.stamps, stamp, side='right') - 1
    values = np.zeros((len(stamp), track.values.shape[1]))
    age = np.full(len(stamp), _MISSING)
    known = index >= 0
    values[known] = track.values[index[known]]
    age[known] = stamp[known] - track.stamps[index[known]]
    return values, age


def _episodes(keep: Array, run: Array, shortest: int) -> list[tuple[int, int]]:
    """Return the spans of kept ticks within one run that are long enough."""
    label = np.where(keep, run, -1)
    cuts = np.flatnonzero(np.diff(label)) + 1
    bounds = np.concatenate([[0], cuts, [len(label)]]).astype(int).tolist()
    return [
        (start, stop)
        for start, stop in pairwise(bounds)
        if stop - start >= shortest and label[start] >= 0
    ]


def _outside(episodes: list[tuple[int, int]], count: int) -> Array:
    """Return which of `count` ticks are in no episode (m,) bool."""
    outside = np.ones(count, bool)
    for start, stop in episodes:
        outside[start:stop] = False
    return outside


def _kept_spans(episodes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans of the episodes after the ticks outside of them are removed."""
    lengths = np.array([stop - start for start, stop in episodes], dtype=int)
    stops = np.cumsum(lengths)
    return list(zip((stops - lengths).tolist(), stops.tolist(), strict=True))

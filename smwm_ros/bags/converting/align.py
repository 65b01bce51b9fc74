# SPDX-License-Identifier: Apache-2.0
"""
From stamped frames, commands and states to rows on an even grid of ticks.

The raw action of a tick comes from the commands heard from the tick until the next; what it sees
and measures comes from before it. Where frames jitter, ticks come after the latest of them, and
commands count from the earliest on: one that answers an early frame at once belongs to that frame.
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

SILENT = 'no command was heard in time'  # why a tick is dropped


class Track(NamedTuple):
    """The numbers of one topic over time."""

    stamps: Array  # (n,) int64, never falling [ns]
    values: Array  # (n, F) float64


class ViewTrack(NamedTuple):
    """The frames of a further camera over time."""

    topic: str
    stamps: Array  # (n,) int64, rising [ns]
    good: Array  # (n,) those that can be shown
    looks: Array  # (n,) number that changes with the size of the images


class Rows(NamedTuple):
    """What is kept of a recording: m ticks in episodes."""

    frame: Array  # (m,) index of the frame
    others: list[Array]  # (m,) of the frame of each further camera
    action: Array  # (m, A)
    state: Array  # (m, P), NaN where none was measured in time
    stamp: Array  # (m,) int64 of the tick [ns]
    episodes: list[tuple[int, int]]  # first row, and one past the last
    dropped: dict[str, int]  # ticks, by reason
    counts: dict[str, int]  # ticks that are kept, but odd
    ages: dict[str, Array]  # (m,) how old what they hold was at the tick [ns]


def align(
    frames: Array,
    good: Array,
    commands: Track,
    states: Track,
    dt: int,
    config: Dataset,
    *,
    shift: bool = False,
    looks: Array | None = None,
    others: Sequence[ViewTrack] = (),
    marks: Track | None = None,
) -> Rows:
    """
    Lay a recording on the grid: frames (n,) rise, and good (n,) tells which can be shown.

    With shift, the grid of each run gets the phase that suits its frames. The others are further
    cameras; marks number the episode from each stamp on, negative outside of any. Where looks (n,)
    of the frames change, the camera is another one, and the recording is cut.
    """
    old = nanoseconds(config.max_frame_age)
    stamp, frame, run = ticks(frames, dt, old, shift)
    filtered = TickFilter(len(stamp))
    filtered.drop('the frame cannot be decoded', ~good[frame])
    filtered.ages['frame'] = stamp - frames[frame]
    seen = [_look(view, stamp, old, filtered) for view in others]
    if looks is not None:
        run = _cut(run, looks[frame])
    for view, index in zip(others, seen, strict=True):
        run = _cut(run, np.append(view.looks, 0)[index])  # the last where there is no frame
    lead = _lead(filtered.ages['frame'], frame, run) if shift else 0
    action, age = _action(commands, stamp, lead, dt, config, filtered)
    state = _state(states, stamp, old, filtered)
    if marks is not None:
        run = _mark(marks, stamp, run, filtered)
    shortest = max(config.min_length, config.action_block + 1)
    episodes = _episodes(filtered.keep, run, shortest)
    filtered.drop(f'in a stretch of fewer than {shortest} ticks', _outside(episodes, len(stamp)))
    keep = filtered.keep
    return Rows(
        frame[keep],
        [index[keep] for index in seen],
        action[keep],
        state[keep],
        stamp[keep],
        _packed(episodes),
        filtered.dropped,
        _odd(keep, frame, age, state, nanoseconds(config.hold)),
        {name: age[keep] for name, age in filtered.ages.items()},
    )


def _odd(keep: Array, frame: Array, age: Array, state: Array, hold: int) -> dict[str, int]:
    """Count the ticks that are kept, but odd."""
    odd = {
        'frames shown again': np.diff(frame, prepend=-1) == 0,
        'actions held': (age > 0) & (age <= hold),
        'actions set to zero': age > hold,
        UNMEASURED: np.isnan(state).any(1),
    }
    return {name: int((keep & where).sum()) for name, where in odd.items()}


def _state(states: Track, stamp: Array, old: int, tick_filter: TickFilter) -> Array:
    """Return the last measured state at each tick (m, P), NaN where it is old or no number."""
    state, age = _latest(states, stamp)
    if states.values.shape[1]:
        state[(age > old) | ~np.isfinite(state).all(1)] = np.nan
        tick_filter.ages['state'] = age
    return state


def _mark(marks: Track, stamp: Array, run: Array, tick_filter: TickFilter) -> Array:
    """Cut runs where another episode is marked; return the numbers of the pieces (m,)."""
    mark, age = _latest(marks, stamp)
    mark[age == _NEVER] = -1  # before the first one
    tick_filter.drop('outside of the marked episodes', mark[:, 0] < 0)
    return _cut(run, mark[:, 0])


def _cut(run: Array, number: Array) -> Array:
    """Cut runs where a number changes; return the numbers of the pieces (m,)."""
    pieces: Array = np.cumsum((np.diff(run, prepend=0) != 0) | (np.diff(number, prepend=0) != 0))
    return pieces


class TickFilter:
    """Ticks that are kept, and why the others are not: each counts for the first reason only."""

    def __init__(self, count: int) -> None:
        self.keep = np.ones(count, bool)
        self.dropped: dict[str, int] = {}
        self.ages: dict[str, Array] = {}  # (m,) how old what ticks hold is [ns]

    def drop(self, why: str, where: Any) -> None:
        """Drop the ticks of a mask."""
        self.dropped[why] = int((self.keep & where).sum())
        self.keep[where] = False


def _look(view: ViewTrack, stamp: Array, old: int, tick_filter: TickFilter) -> Array:
    """Return the frame of a further camera that each tick sees (m,)."""
    index = np.searchsorted(view.stamps, stamp, side='right') - 1
    known = index >= 0
    age = np.full(len(stamp), _NEVER)
    age[known] = stamp[known] - view.stamps[index[known]]
    tick_filter.drop(f'no frame of {view.topic} in time', age > old)
    known[known] = view.good[index[known]]
    tick_filter.drop(f'the frame of {view.topic} cannot be decoded', ~known)
    tick_filter.ages[f'frame of {view.topic}'] = age
    return index


_REPEATS = 0.05  # share of ticks that repeat a frame, beyond which a camera is slow: no jitter
_EARLIEST = 95  # percentile of the ages of frames that stands for the earliest of them


def _lead(age: Array, frame: Array, run: Array) -> Array:
    """Return how long before their ticks the commands of each tick count (m,) [ns]."""
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
    if config.action == 'next_state_delta':
        action = _measured(commands, stamp + dt, config) - _measured(commands, stamp, config)
        tick_filter.drop('its change of state was not measured', ~np.isfinite(action).all(1))
        return action, np.zeros(len(stamp), np.int64)
    action, age = _actions(commands, stamp - lead, dt, config.action)
    tick_filter.ages['command'] = age
    late = age > nanoseconds(config.hold)
    if config.after_hold == 'zero':
        action[late] = 0.0
    else:
        tick_filter.drop(SILENT, late)
    tick_filter.drop('the command is not a number', ~np.isfinite(action).all(1))
    return action, age


def _measured(states: Track, stamp: Array, config: Dataset) -> Array:
    """Return the state between its neighbours at each tick (m, F); NaN where one is too far."""
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


def _outside(episodes: list[tuple[int, int]], count: int) -> Array:
    """Return which of so many ticks are in no episode (m,)."""
    outside = np.ones(count, bool)
    for start, stop in episodes:
        outside[start:stop] = False
    return outside


def _packed(episodes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return where episodes lie once the ticks outside of them are gone."""
    lengths = np.array([stop - start for start, stop in episodes], dtype=int)
    stops = np.cumsum(lengths)
    return list(zip((stops - lengths).tolist(), stops.tolist(), strict=True))

# SPDX-License-Identifier: Apache-2.0
"""The recording of a dataset: frames, commands, measured states, episodes, labels, notes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.data.split import Episode
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.pages.episode import place
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.viewers.layout import charts_of, layout, LOG, View3D
from smwm_ros.viewers.recording import (
    BLUE,
    entity,
    GREY,
    INFO,
    Instants,
    Look,
    losses,
    recorded,
    ROBOT_TIME,
    STEP,
    ViewerRecording,
    WARN,
)

CAMERA, COMMAND, STATE, PATH = 'camera', 'command', 'state', 'path'
CONFIDENCE, EPISODE = 'command_confidence', 'episode'
_BLOCK = 256  # frames in memory at once


class RobotTimes:
    """The time of the robot at the rows of a dataset."""

    def __init__(self, data: TransitionDataset) -> None:
        self._stamps = data.stamps
        ends = np.cumsum([meta['rows'] for meta in data.metas.values()]).tolist()
        begins = [0, *ends[:-1]]
        spans = sorted(
            (int(data.stamps[a]), int(data.stamps[b - 1]))
            for a, b in zip(begins, ends, strict=True)
            if b > a
        )
        # Recordings of the same hours, such as of simulations, would be shown on top of each
        # other: then each of them has a timeline of its own.
        apart = all(one[1] < two[0] for one, two in pairwise(spans))
        self._names = [ROBOT_TIME if apart else f'{ROBOT_TIME} {name}' for name in data.metas]
        self._ends = ends
        self._dt = round(data.info.spec.dt * 1e9)
        self.first = ROBOT_TIME if apart else STEP  # timeline to begin with

    def at(self, rows: Array) -> Instants:
        """Return the instants of rows (n,) of one recording."""
        name = self._names[int(np.searchsorted(self._ends, rows[0], side='right'))]
        return Instants(rows, self._stamps[rows], name)

    def after(self, row: int) -> Instants:
        """Return the instant at which a row is over."""
        last = self.at(np.array([row]))
        return Instants(last.steps + 1, last.stamps + self._dt, last.clock)


def write_dataset(
    data: TransitionDataset, path: Path, count: int, progress: ShowProgress = NoProgress
) -> int:
    """Write the recording of a number of episodes to a file; return how many it shows."""
    shown = evenly_spaced(np.arange(len(data.episodes)), count, rounded=True).tolist()
    times, fields = RobotTimes(data), data.info.spec.fields
    with recorded(path, data.folder.resolve().name) as recording:
        declare_commands(recording, data, {'recorded': BLUE})
        for position, number in enumerate(progress(shown, desc='writing', unit=' episodes')):
            episode = data.episodes[number]
            _add(recording, data, times, number)
            following = shown[position + 1 : position + 2]
            # Nothing comes after the last one, so it may stay.
            if following and not _continues(data, episode, data.episodes[following[0]]):
                end = times.after(episode.stop - 1)
                for name in (CAMERA, COMMAND, STATE, PATH, CONFIDENCE):
                    recording.clear(name, end)
        _notes(recording, data, times)
        states = _states(data)
        charts = charts_of(COMMAND, fields)
        charts |= charts_of(STATE, states)
        charts |= {CONFIDENCE: 'Confidence in the commands'} if data.labels else {}
        scenes = _scenes(data) if _has_path(states) else []
        recording.layout(layout([CAMERA], charts, scenes, times.first))
    return len(shown)


def declare_commands(
    recording: ViewerRecording, data: TransitionDataset, curves: dict[str, tuple[int, int, int]]
) -> None:
    """Name the curves of the commands, and those of their limits."""
    for field in data.info.spec.fields:
        for name, colour in {**curves, 'low': GREY, 'high': GREY}.items():
            recording.legend(entity(COMMAND, field, name), name, colour)


def add_commands(
    recording: ViewerRecording, data: TransitionDataset, at: Instants, curves: dict[str, Array]
) -> None:
    """Add curves of commands (n, A), and the limits of each field."""
    spec, ends = data.info.spec, [0, -1]
    for number, field in enumerate(spec.fields):
        for name, values in curves.items():
            recording.numbers(entity(COMMAND, field, name), at, values[:, number])
        for name, limits in (('low', spec.low), ('high', spec.high)):
            limit = np.full(2, limits[number])
            recording.numbers(entity(COMMAND, field, name), at[ends], limit)


def add_frames(
    recording: ViewerRecording, data: TransitionDataset, at: Instants, rows: Array
) -> None:
    """Add the frames of rows (n,)."""
    for begin in range(0, len(rows), _BLOCK):
        some = slice(begin, begin + _BLOCK)
        recording.images(CAMERA, at[some], data.pixels(rows[some]))


def _add(
    recording: ViewerRecording, data: TransitionDataset, times: RobotTimes, number: int
) -> None:
    """Add an episode."""
    episode = data.episodes[number]
    rows = np.arange(episode.start, episode.stop)
    at = times.at(rows)
    add_frames(recording, data, at, rows)
    add_commands(recording, data, at, {'recorded': data.actions(rows)})
    states, names = data.states(rows), _states(data)
    for column, name in enumerate(names):
        recording.numbers(entity(STATE, name), at, states[:, column])
    if data.labels:
        recording.numbers(CONFIDENCE, at, data.confidence(rows))
    known = np.isfinite(states[:, :2]).all(axis=1)
    if _has_path(names) and known.any():
        way = np.pad(states[known, :2], ((0, 0), (0, 1)))
        recording.lines(f'{PATH}/episode', at[:1], [way], Look(GREY, -1.0))
        recording.points(f'{PATH}/robot', at[known], way, Look(BLUE, -6.0))
        recording.clear(f'{PATH}/robot', at[losses(known)])
    recording.numbers(EPISODE, at, np.full(len(rows), float(number)))
    split = 'held out' if episode.split == 'val' else 'for training'
    where = place(data, episode.start, episode.stop)
    line = f'Episode {number}, {split}: {where}, rows {episode.start} to {episode.stop - 1}'
    recording.texts(LOG, at[:1], [line], [INFO])


def _notes(recording: ViewerRecording, data: TransitionDataset, times: RobotTimes) -> None:
    """Add what the conversion noted and dropped, at the begin of each recording."""
    begin = 0
    for name, meta in data.metas.items():
        lines = [f'{name}: {text}' for text in [*meta['notes'], *meta['faults'].values()]]
        lines += [f'{name}: {n} dropped: {why}' for why, n in meta['dropped'].items() if n]
        at = times.at(np.full(len(lines), begin)) if lines and meta['rows'] else None
        if at:
            recording.texts(LOG, at, lines, [WARN] * len(lines))
        begin += meta['rows']


def _states(data: TransitionDataset) -> tuple[str, ...]:
    """Return the fields of the measured state."""
    return tuple(expand(data.info.robot['state']['fields'])) if data.info.state_size else ()


def _scenes(data: TransitionDataset) -> list[View3D]:
    """Return the view of the measured path from above, if there is any."""
    rows = np.arange(len(data))
    rows = rows[data.measured(rows)]
    places = np.pad(data.states(rows)[:, :2], ((0, 0), (0, 1)))
    above, north = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
    return [View3D(PATH, 'Measured path', places, above, north)] if len(rows) else []


def _has_path(names: Sequence[str]) -> bool:
    """Return whether the measured state begins with x and y."""
    return [name.rpartition('.')[2] for name in names[:2]] == ['x', 'y']


def _continues(data: TransitionDataset, one: Episode, two: Episode) -> bool:
    """Return whether one episode follows the other without a gap."""
    return one.stop == two.start and any(d.start < two.start < d.stop for d in data.drives)

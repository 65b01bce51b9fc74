# SPDX-License-Identifier: Apache-2.0
"""The part of a dataset page that shows episodes: strips, films, curves, camera images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.data.outcomes import about
from smwm_ros.data.photographs import photographs
from smwm_ros.data.shards import shard_folder
from smwm_ros.data.split import Episode
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.pages import charts, html
from smwm_ros.pages.film import film, MOST
from smwm_ros.pages.html import escape
from smwm_ros.pages.numbers import number, with_unit
from smwm_ros.pages.parts import command_tile, DRIVEN, duration, legend, strip

_FRAMES = 10  # in a strip
_POINTS = 300  # of a curve
_FIELDS = 8  # of commands that get a curve
_HEIGHT = 144  # of a film [px]
_PHOTOGRAPHS, _LARGE = 12, 480  # frames of cameras on a page, and their width [px]


def place(data: TransitionDataset, start: int, stop: int) -> str:
    """Return recording and time range of rows [s from its start]."""
    begin = 0
    for name, meta in data.metas.items():
        if start < begin + meta['rows']:
            dt = data.info.spec.dt
            at = (int(data.stamps[start]) - int(data.stamps[begin])) / 1e9
            end = (int(data.stamps[stop - 1]) - int(data.stamps[begin])) / 1e9 + dt
            return f'{name}, {number(at, 0.1)} to {number(end, 0.1)} s'
        begin += meta['rows']
    return ''


def episode(data: TransitionDataset, count: int, shown: Episode, filmed: bool) -> list[str]:
    """Return the strip of an episode, its film if wanted, and its actions and path."""
    info = data.info
    rows = np.arange(shown.start, shown.stop)
    some = evenly_spaced(rows, _FRAMES, rounded=True)
    seconds = (rows - rows[0]) * info.spec.dt
    caption = (
        f'Episode {count}, {"held out" if shown.split == "val" else "for training"}: '
        f'{place(data, shown.start, shown.stop)}, rows {shown.start} to {shown.stop - 1}, '
        f'{duration(len(rows) * info.spec.dt)}{_noted(data, shown)}. Frames at '
        f'{", ".join(number(at, 0.1) for at in (some - rows[0]) * info.spec.dt)} s.'
    )
    frames = strip(data.pixels(some), data.actions(some), info.spec)
    parts = [html.picture(frames, caption, frames.shape[1], strip=True)]
    if filmed:
        parts.append(_film(data, rows, f'Episode {count} as a film'))
    thin = slice(None, None, max(len(rows) // _POINTS, 1))
    actions, states = data.actions(rows), data.states(rows)
    curves = {
        with_unit(name): (seconds[thin], values[thin])
        for name, values in zip(info.spec.fields[:_FIELDS], actions.T, strict=False)
    }
    shown_charts = [charts.line_chart('Commands', 'time [s]', 'command', curves)]
    if info.state_size:
        names = expand(info.robot['state']['fields'])
        known = np.flatnonzero(data.measured(rows))[thin]
        shown_charts.append(_path(names, seconds[known], states[known]))
    return [*parts, html.row(shown_charts)]


def _noted(data: TransitionDataset, shown: Episode) -> str:
    """Return the outcome and the task that were recorded with an episode."""
    drive = next(drive for drive in data.drives if drive.start <= shown.start < drive.stop)
    return f'; {words}' if (words := about(drive)) else ''


def camera(data: TransitionDataset) -> list[str]:
    """Return full-size camera images, or a note that only resized frames are stored."""
    found = [
        (name, photograph)
        for name in data.metas
        for photograph in photographs(shard_folder(data.folder, name))
    ]
    heading = '<h2>Camera images</h2>'
    if not found:
        side = data.info.image_size
        words = (
            f'<p>Only frames of {side} by {side} pixels, the input of the model, are stored: the '
            'camera images are not larger, or the dataset was imported or made by an older '
            'version. This is the first frame.</p>'
        )
        first = cv2.resize(data.pixels(np.array([0]))[0], None, fx=4, fy=4, interpolation=0)
        return [heading, words, html.picture(first, '', min(first.shape[1], _LARGE))]
    camera_info = data.info.robot['camera']
    topics = [camera_info['topic'], *camera_info.get('others', '').split()]
    some = evenly_spaced(np.arange(len(found)), _PHOTOGRAPHS, rounded=True)
    figures = []
    for name, one in (found[at] for at in some):
        topic = topics[one.camera] if one.camera < len(topics) else f'camera {one.camera}'
        caption = f'{name}, {number(one.seconds, 0.1)} s: {topic}, {one.size} pixels'
        if jpeg := one.read():
            width = min(2 * int(one.size.partition('x')[0]), _LARGE)
            figures.append(html.photograph(jpeg, caption, width))
    return [heading, html.row(figures)]


def legend_of_strips(data: TransitionDataset) -> str:
    """Describe how commands are drawn in strips and films."""
    words = f'the command, {legend(data.info.spec)}'
    if data.unknown:
        words += '; nothing is drawn where it is unknown'
    return f'<p>Below each frame, and beside it in a film: {escape(words)}.</p>'


def _film(data: TransitionDataset, rows: Array, caption: str) -> str:
    """Return a film of rows: the frames, and the commands beside them."""
    spec = data.info.spec
    every = -(-len(rows) // MOST)
    some = rows[::every]
    frames = [
        beside(frame, command_tile({DRIVEN: action}, spec, _HEIGHT * 2 // 3, _HEIGHT))
        for frame, action in zip(data.pixels(some), data.actions(some), strict=True)
    ]
    texts = [f'{number(at, 0.1)} s' for at in (some - rows[0]) * spec.dt]
    caption += f'. Beside it: the command, {legend(spec)}.'
    if every > 1:
        caption += f' One frame in {every} is shown.'
    return film(frames, texts, every * spec.dt, caption)


def beside(frame: Array, *others: Array) -> Array:
    """Return a frame, enlarged to the height of what stands beside it."""
    height = others[0].shape[0]
    width = max(round(frame.shape[1] * height / frame.shape[0]), 1)
    large = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.concatenate([large, *others], axis=1)


def _path(names: Sequence[str], seconds: Array, states: Array) -> str:
    """Return the measured state: as a path if it begins with x and y, else over time."""
    if [name.rpartition('.')[2] for name in names[:2]] == ['x', 'y'] and len(states):
        x, y = states[:, 0], states[:, 1]
        curves = {'path': (x, y), 'start': (x[:1], y[:1]), 'end': (x[-1:], y[-1:])}
        labels = with_unit(names[0]), with_unit(names[1])
        return charts.line_chart('Measured path', *labels, curves, equal=True)
    curves = {
        with_unit(name): (seconds, values)
        for name, values in zip(names[:_FIELDS], states.T[:_FIELDS], strict=True)
    }
    return charts.line_chart('Measured state', 'time [s]', 'measured', curves)

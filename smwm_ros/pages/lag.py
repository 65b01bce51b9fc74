# SPDX-License-Identifier: Apache-2.0
"""The part of a dataset page on the delay between command and motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from smwm_ros.bags.survey.delay import best_lag, command_strength, lag_correlations
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import Drive, stretches
from smwm_ros.interfaces import Array
from smwm_ros.pages import charts, html
from smwm_ros.pages.html import escape
from smwm_ros.pages.numbers import number

_LAGS = np.arange(-0.5, 1.0001, 0.02)  # of the motion behind the command [s]
_FRAMES = 3000  # looked at
_SMALL = 32  # frames are compared at this size [px]
_FEW = 20  # changes needed for an estimate
_APART = 0.1  # difference of estimated and configured delay above which to warn [s]


class Lag(NamedTuple):
    """Delay between command and motion."""

    chart: str
    words: str  # in a sentence
    warning: str  # nothing where the configuration agrees


class _Time(NamedTuple):
    """Drives joined one after the other, without the pauses between them."""

    stamps: Array  # (m,) when a command begins to hold [s]
    strength: Array  # (m,)
    begins: Array  # (n,) of changes [s]
    ends: Array  # (n,)
    rows: Array  # (n,) at which a change begins


def lag(data: TransitionDataset) -> Lag | None:
    """Return how motion follows the command; None if there is too little data."""
    if data.info.dataset.get('action') == 'next_state_delta':
        return None  # actions are measured motion
    configured = float(data.info.dataset['command_delay'])
    lags = _LAGS - configured  # rows hold commands that much later
    # Labels are inferred from the frames, so they show no delay.
    drives = stretches(data.drives, data.recorded(np.arange(len(data))))
    if not drives:
        return None
    time = _timeline(data, drives, lags)
    if len(time.rows) < _FEW:
        return None
    moved = {'motion of the picture': _seen(data, time.rows)}
    if data.info.state_size:
        moved['motion of the measured state'] = _measured(data, time.rows)
    curves = {}
    for name, changes in moved.items():
        known = np.isfinite(changes)
        if known.sum() >= _FEW:
            part = (time.begins[known], time.ends[known], changes[known])
            scores = lag_correlations(time.stamps, time.strength, *part, lags)
            curves[name] = (_LAGS, scores)
    seen = moved['motion of the picture']
    best = best_lag(time.stamps, time.strength, time.begins, time.ends, seen)
    estimate = None if best is None else best + configured
    marks = {} if estimate is None else {'estimated delay': estimate}
    marks['dataset.command_delay'] = configured
    chart = charts.line_chart(
        'Command against motion', 'lag of the motion behind the command [s]', 'correlation',
        curves, marks=marks, unit='s',
    )  # fmt: skip
    return Lag(chart, *_words(estimate, configured, data.info.spec.dt))


def section(found: Lag | None) -> list[str]:
    """Return the part of the page."""
    if found is None:
        return []
    return [
        '<h2>Command against motion</h2>',
        '<p>Correlation of command magnitude and motion at each lag (1: perfect, 0: none). '
        f'{escape(found.words)}</p>',
        html.row([found.chart]),
    ]


def _words(estimate: float | None, configured: float, dt: float) -> tuple[str, str]:
    """Return the finding, and a warning where the configuration differs from it."""
    if estimate is None:
        return 'No delay can be estimated: no lag stands out in all parts of the data.', ''
    about = f'after about {number(round(estimate, 2))} s'
    words = f'The image responds to a command {about if estimate >= dt / 2 else "at once"}.'
    if abs(estimate - configured) <= max(dt, _APART):
        return words, ''
    return words, (
        f'The image responds to a command {about}, but '
        f'dataset.command_delay is {number(configured)} s: convert again with '
        f'dataset.command_delay={number(round(estimate, 2))}.'
    )


def _timeline(data: TransitionDataset, drives: Sequence[Drive], lags: Array) -> _Time:
    """Join the first drives, with pauses longer than any lag."""
    robot, dt, reach = data.info.robot['command'], data.info.spec.dt, np.ptp(_LAGS) + 1
    spec, begin, count = data.info.spec, 0.0, 0
    stamps, strength, rows, begins = [], [], [], []
    for drive in drives:
        here = np.arange(drive.start, min(drive.stop, drive.start + _FRAMES - count))
        seconds = begin + dt * np.arange(len(here) + 1)
        stamps.append(seconds)
        strong = command_strength(
            data.actions(here), np.array(spec.low), np.array(spec.high), robot['stop']
        )
        strength.append(np.append(strong, 0.0))
        inside = seconds[:-1] - lags[-1] >= begin
        inside &= seconds[:-1] + dt - lags[0] <= seconds[-1]
        inside[-1:] = False  # the motion after it is not recorded
        rows.append(here[inside])
        begins.append(seconds[:-1][inside])
        begin, count = seconds[-1] + reach, count + len(here)
        if count >= _FRAMES:
            break
    starts = np.concatenate(begins)
    return _Time(
        np.concatenate(stamps), np.concatenate(strength), starts, starts + dt, np.concatenate(rows)
    )


def _seen(data: TransitionDataset, rows: Array) -> Array:
    """Return how much each frame differs from the next (n,), in grey levels."""
    changes = np.empty(len(rows))
    for part in np.array_split(np.arange(len(rows)), max(len(rows) // 256, 1)):
        pair = [
            np.stack([cv2.resize(one, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA) for one in
                      data.pixels(rows[part] + later)]).astype(np.float32)
            for later in (0, 1)
        ]  # fmt: skip
        changes[part] = np.abs(pair[1] - pair[0]).mean(axis=(1, 2, 3))
    return changes


def _measured(data: TransitionDataset, rows: Array) -> Array:
    """Return how far the measured state moves from each row to the next (n,), NaN if unknown."""
    steps = np.abs(data.states(rows + 1) - data.states(rows))
    known = np.isfinite(steps).all(axis=1)
    if not known.any():
        return np.full(len(rows), np.nan)
    usual = np.maximum(
        np.percentile(steps[known], 99, axis=0), 1e-9
    )  # an angle that wraps is more
    moved: Array = np.linalg.norm(np.minimum(steps / usual, 1.0), axis=1)
    return moved

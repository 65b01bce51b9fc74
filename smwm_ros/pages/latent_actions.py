# SPDX-License-Identifier: Apache-2.0
"""The page of `smwm lam-report`: acceptance tests of latent actions, and pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

import cv2
import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.latent_actions import Acceptance
from smwm_ros.evaluation.latent_report import (
    Information,
    LatentReport,
    SimilarTransitions,
    TransferredMotion,
)
from smwm_ros.evaluation.latent_sweep import curves, Point
from smwm_ros.interfaces import Array
from smwm_ros.pages import charts, html
from smwm_ros.pages.film import film
from smwm_ros.pages.html import escape
from smwm_ros.pages.numbers import number
from smwm_ros.pages.parts import table
from smwm_ros.text import count_of

_FRAME = 88  # width of a frame in a strip [px]
_SIDE = 150  # width of a frame in the film [px]
_GAP = 4  # between frames [px]
WORDS = {True: 'pass', False: 'fail', None: 'not judged'}
_CSS = {True: 'good', False: 'bad', None: ''}


def latent_sheet(
    title: str,
    found: LatentReport,
    tests: Sequence[Acceptance],
    points: Sequence[Point],
    data: TransitionDataset,
) -> str:
    """Return the page."""
    results = [test.passed for test in tests]
    body = [
        html.tiles({word: str(results.count(value)) for value, word in WORDS.items()}),
        '<h2>Acceptance tests</h2>',
        _tests(tests),
        '<h2>Information along a drive</h2>',
        *_information(found.information, data),
        '<h2>Transitions with similar latent actions</h2>',
        *_alike(found.alike, data),
        '<h2>Motion of one drive in the scene of another</h2>',
        _film(found.film, data),
        *_sweep(points),
    ]
    about = 'Acceptance tests of a latent-action model, on held-out transitions.'
    failed = [test.name for test in tests if test.passed is False]
    warnings = [f'{count_of(len(failed), "test")} failed: {"; ".join(failed)}.'] if failed else []
    return html.page(title, about, body, warnings, data.pixels(np.array([0]))[0])


def figure_in_words(test: Acceptance) -> str:
    """Return the figure of a test, and those that pass."""
    if math.isnan(test.figure):
        return 'not measured'
    least, most = (None if limit is None else number(limit) for limit in (test.least, test.most))
    expected = f'at least {least}' if least else f'at most {most}' if most else ''
    expected = f'{least} to {most}' if least and most else expected
    return number(test.figure) + (f' ({expected})' if expected else '')


def plain(found: LatentReport, data: TransitionDataset) -> dict[str, Any]:
    """Return what illustrates the tests as plain data."""
    info = found.information
    values = [float(value) if np.isfinite(value) else None for value in info.values]
    return {
        'information': {
            'drive': info.drive,
            'unit': info.unit,
            'seconds': _seconds(info, data).round(3).tolist(),
            'values': values,
            'peaks': info.peaks.tolist(),
        },
        'neighbours': {
            'queries': found.alike.queries.tolist(),
            'nearest': found.alike.nearest.tolist(),
        },
    }


def _tests(tests: Sequence[Acceptance]) -> str:
    """Return the table of all tests."""
    cells = [
        f'{escape(test.name)}<br><b class="{_CSS[test.passed]}">{WORDS[test.passed]}</b>'
        for test in tests
    ]
    rows = [[figure_in_words(test), test.meaning] for test in tests]
    return table(('test', 'figure (expected)', 'meaning'), rows, cells)


def _seconds(info: Information, data: TransitionDataset) -> Array:
    """Return the time of each row since the first one [s]."""
    seconds: Array = (info.rows - info.rows[0]) * data.info.spec.dt
    return seconds


def _information(info: Information, data: TransitionDataset) -> list[str]:
    """Return the curve of a drive, and the frames of its peaks."""
    seconds = _seconds(info, data)
    chart = charts.line_chart(
        f'What happens in each transition of {info.drive}', 'time [s]', info.unit,
        {'transitions': (seconds, info.values)},
    )  # fmt: skip
    pictures = [
        html.picture(
            _strip(data, info.rows[[place]]),
            f'{seconds[place]:.1f} s: {number(float(info.values[place]))} {info.unit}',
            _FRAME,
        )
        for place in info.peaks
    ]
    about = '<p>The peaks, before (top) and after (bottom) each transition:</p>'
    return [html.row([chart]), about, html.row(pictures)]


def _alike(alike: SimilarTransitions, data: TransitionDataset) -> list[str]:
    """Return each query, and the nearest transitions of other drives."""
    if not alike.nearest.size:
        return ['<p>There is no second held-out drive to search.</p>']
    pictures = [
        html.picture(
            _strip(data, np.concatenate([[query], near])),
            f'Tick {query}, and its {count_of(len(near), "neighbour")}',
            (1 + len(near)) * (_FRAME + _GAP),
            strip=True,
        )
        for query, near in zip(alike.queries, alike.nearest, strict=True)
    ]
    about = (
        '<p>In each picture, left: a transition, before (top) and after (bottom). Right of it: '
        'those with the nearest latent actions, from other drives. What moves should move alike, '
        'wherever it is.</p>'
    )
    return [about, html.row(pictures)]


def _film(moved: TransferredMotion | None, data: TransitionDataset) -> str:
    """Return the film of transferred motion."""
    if moved is None:
        return '<p>There is no second held-out drive to move.</p>'
    frames = [
        np.concatenate([_large(frame, _SIDE), _gap(_SIDE, _GAP), _large(picture, _SIDE)], axis=1)
        for frame, picture in zip(data.pixels(moved.source), moved.pictures, strict=True)
    ]
    period = data.info.spec.dt * data.info.action_block
    texts = [f'step {step}' for step in range(len(frames))]
    return film(
        frames, texts, period,
        f'Left: a recorded drive, from tick {moved.source[0]}. Right: its latent actions, applied '
        f'from the frame of tick {moved.target} in another drive, as a linear decoder of the map '
        'shows it.',
    )  # fmt: skip


def _sweep(points: Sequence[Point]) -> list[str]:
    """Return the error of the models of a sweep against their capacity."""
    if not points:
        return []
    shown = curves(points)
    chart = charts.line_chart(
        'Error with the inferred latent action', 'capacity, from z = 0 to no bottleneck',
        'share of the copy baseline',
        {
            name: (np.arange(len(curve)), np.array([point.error for point in curve]))
            for name, curve in shown.items()
        },
    )  # fmt: skip
    nats = {
        name: (np.array([p.nats for p in curve[:-1]]), np.array([p.error for p in curve[:-1]]))
        for name, curve in shown.items()
        if all(np.isfinite(point.nats) for point in curve[:-1])
    }
    by_nats = charts.line_chart(
        'The same by information', 'nats per transition', 'share of the copy baseline', nats
    )
    rows = [
        [one.bottleneck, one.setting, *map(number, (one.error, one.nats, one.active))]
        for one in points
    ]
    head = ('bottleneck', 'setting', 'error', 'nats', 'active dimensions')
    return ['<h2>Sweep of bottlenecks</h2>', html.row([chart, by_nats]), table(head, rows)]


def _strip(data: TransitionDataset, rows: Array) -> Array:
    """Return transitions side by side, the frame before each above the one after."""
    columns = []
    for pair in zip(data.pixels(rows), data.pixels(rows + data.info.action_block), strict=True):
        before, after = (_large(frame, _FRAME) for frame in pair)
        column = np.concatenate([before, _gap(_GAP, _FRAME), after])
        columns += [column, _gap(len(column), _GAP)]
    return np.concatenate(columns[:-1], axis=1)


def _gap(height: int, width: int) -> Array:
    """Return white paper."""
    return np.full((height, width, 3), 255, np.uint8)


def _large(frame: Array, width: int) -> Array:
    """Return a square frame of another width."""
    large: Array = cv2.resize(frame, (width, width), interpolation=cv2.INTER_NEAREST)
    return large

# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of a dataset: what was recorded, how well it fits together, what was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from smwm_ros import report
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.interfaces import Array
from smwm_ros.core.split import Episode
from smwm_ros.fieldpath import expand
from smwm_ros.progress import show_progress
from smwm_ros.report import escape
from smwm_ros.verbs.sheet_parts import arrows, duration, strip, table
from smwm_ros.verbs.sheet_sync import sync

_FRAMES = 10  # in a strip
_POINTS = 300  # of a curve


def contact_sheet(data: TransitionDataset, count: int) -> tuple[str, int]:
    """Return the page, and how many episodes it shows."""
    places = np.linspace(0, len(data.episodes) - 1, min(count, len(data.episodes)))
    shown = sorted({int(place) for place in places.round()})
    body = [
        report.tiles(_facts(data)),
        '<h2>Distributions</h2>',
        report.row(list(_histograms(data))),
        *sync(data),
        '<h2>What was dropped, and why</h2>',
        _losses(data),
        '<h2>Where it comes from</h2>',
        _sources(data),
        f'<h2>Episodes ({len(shown)} of {len(data.episodes)})</h2>',
        *arrows(data.info.spec),
    ]
    for number in show_progress(shown, desc='drawing', unit=' episodes'):
        body += _episode(data, number, data.episodes[number])
    return report.page(f'Dataset {data.folder.resolve().name}', body), len(shown)


def _facts(data: TransitionDataset) -> dict[str, str]:
    """Return the numbers people look for first."""
    info = data.info
    mine = [episode for episode in data.episodes if episode.split == 'val']
    held_out = sum(episode.stop - episode.start for episode in mine) / len(data)
    return {
        f'episodes, {held_out:.0%} held out': str(len(data.drives)),
        'ticks': str(len(data)),
        f'transitions of {info.action_block} actions': str(len(data.starts('all'))),
        f'at {1 / info.spec.dt:g} Hz': duration(len(data) * info.spec.dt),
        'pixels a side': str(info.image_size),
        'fingerprint': data.fingerprint,
    }


def _histograms(data: TransitionDataset) -> Iterator[str]:
    """Yield a histogram of each action, and of the lengths of the episodes."""
    info = data.info
    spans = [np.arange(item.start, item.stop) for item in data.episodes]
    actions = data.actions(np.concatenate(spans))
    for name, values, low, high in zip(
        info.spec.fields, actions.T, info.spec.low, info.spec.high, strict=True
    ):
        outside = float(((values < low) | (values > high)).mean())
        beyond = f', {outside:.1%} beyond' if outside else ''
        title = f'{name} (limits {low:g} to {high:g}{beyond})'
        yield report.histogram(title, 'SI unit', values, {'mean': float(values.mean())})
    lengths = np.array([len(span) for span in spans]) * info.spec.dt
    marks = {'median': float(np.median(lengths))}
    yield report.histogram('Length of episodes', 's', lengths, marks)


def _losses(data: TransitionDataset) -> str:
    """Return what was dropped and counted, over all recordings and in which most."""
    total: Counter[str] = Counter()
    worst: dict[str, tuple[int, str]] = {}
    for name, meta in data.metas.items():
        for reason, count in {**meta['dropped'], **meta['counts']}.items():
            total[reason] += count
            worst[reason] = max(worst.get(reason, (0, '')), (count, name))
    dropped = {reason for meta in data.metas.values() for reason in meta['dropped']}
    cells = [
        ['ticks dropped' if reason in dropped else 'counted', reason, str(count), worst[reason][1]]
        for reason, count in sorted(total.items(), key=lambda item: item[0] not in dropped)
        if count
    ]
    notes = [
        f'{name}: {text}'
        for name, meta in data.metas.items()
        for text in [*meta['notes'], *meta['faults'].values()]
    ]
    listed = ''.join(f'<li>{escape(note)}</li>' for note in notes)
    return table(['', 'what', 'how many', 'most in'], cells) + f'<ul>{listed}</ul>'


def _sources(data: TransitionDataset) -> str:
    """Return the files that the dataset was made of, and the knobs."""
    cells = [
        [
            name,
            ', '.join(meta['source']['files'][:3]),
            f'{meta["source"]["bytes"] / 1e6:.1f} MB',
            meta['source']['fingerprint'],
            ', '.join(f'{key} {value}' for key, value in meta['versions'].items()),
        ]
        for name, meta in data.metas.items()
    ]
    head = ['recording', 'files', 'size', 'fingerprint', 'made with']
    knobs = ''.join(
        f'<li>{escape(f"{section}.{key}={value}")}</li>'
        for section, values in (('robot', data.info.robot), ('dataset', data.info.dataset))
        for key, value in values.items()
    )
    return (
        f'{table(head, cells)}<details><summary>configuration</summary><ul>{knobs}</ul></details>'
    )


def _episode(data: TransitionDataset, number: int, episode: Episode) -> list[str]:
    """Return the strip of an episode, and its actions and path."""
    info = data.info
    rows = np.arange(episode.start, episode.stop)
    some = rows[np.linspace(0, len(rows) - 1, min(_FRAMES, len(rows))).round().astype(int)]
    seconds = (rows - rows[0]) * info.spec.dt
    caption = (
        f'episode {number}, {"held out" if episode.split == "val" else "for training"}: '
        f'rows {episode.start} to {episode.stop - 1}, {duration(len(rows) * info.spec.dt)}; '
        f'frames at {", ".join(f"{at:.1f}" for at in (some - rows[0]) * info.spec.dt)} s'
    )
    frames = strip(data.pixels(some), data.actions(some), info.spec)
    thin = slice(None, None, max(len(rows) // _POINTS, 1))
    actions, states = data.actions(rows), data.states(rows)
    curves = {
        name: (seconds[thin], values[thin])
        for name, values in zip(info.spec.fields, actions.T, strict=True)
    }
    charts = [report.line_chart('Actions', 'time [s]', curves)]
    if info.state_size:
        names = expand(info.robot['state']['fields'])
        known = np.flatnonzero(data.measured(rows))[thin]
        charts.append(_path(names, seconds[known], states[known]))
    return [report.picture(frames, caption, frames.shape[1]), report.row(charts)]


def _path(names: Sequence[str], seconds: Array, states: Array) -> str:
    """Return the measured state: as a path if it begins with x and y, else over time."""
    if [name.rpartition('.')[2] for name in names[:2]] == ['x', 'y']:
        x, y = states[:, 0], states[:, 1]
        curves = {'path': (x, y), 'its begin': (x[:2], y[:2])}
        return report.line_chart('Measured path', f'{names[0]} (up: {names[1]})', curves)
    curves = {
        name: (seconds, values) for name, values in zip(names[:4], states.T[:4], strict=True)
    }
    return report.line_chart('Measured state', 'time [s]', curves)

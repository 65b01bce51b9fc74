# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of a dataset: what was recorded, how well it fits together, what was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

import cv2
import numpy as np
from smwm_ros import report
from smwm_ros.core.dataset import Episode, TransitionDataset
from smwm_ros.core.interfaces import Array
from smwm_ros.fieldpath import expand
from tqdm import tqdm

_FRAMES, _FRAME = 10, 94  # frames in a strip, and their width [px]
_POINTS = 300  # of a curve
_WORST = 10  # rows in a list of the worst

# Counts of a shard that tell how well its topics fit together; each is a number of ticks.
_SYNC = ('actions held', 'actions set to zero', 'frames shown again')


def contact_sheet(data: TransitionDataset, count: int) -> tuple[str, int]:
    """Return the page, and how many episodes it shows."""
    places = np.linspace(0, len(data.episodes) - 1, min(count, len(data.episodes)))
    shown = sorted({int(place) for place in places.round()})
    body = [
        report.tiles(_facts(data)),
        '<h2>Distributions</h2>',
        report.row(list(_histograms(data))),
        '<h2>How well the topics fit together</h2>',
        _sync(data),
        '<h2>Gaps between episodes</h2>',
        _gaps(data),
        '<h2>What was dropped, and why</h2>',
        _losses(data),
        '<h2>Where it comes from</h2>',
        _sources(data),
        f'<h2>Episodes ({len(shown)} of {len(data.episodes)})</h2>',
    ]
    for number in tqdm(shown, desc='drawing', unit=' episodes'):
        body += _episode(data, number, data.episodes[number])
    return report.page(f'Dataset {data.folder.resolve().name}', body), len(shown)


def _facts(data: TransitionDataset) -> dict[str, str]:
    """Return the numbers people look for first."""
    info = data.info
    held_out = sum(episode.split == 'val' for episode in data.episodes)
    return {
        f'episodes, {held_out} held out': str(len(data.episodes)),
        'ticks': str(len(data)),
        f'transitions of {info.action_block} actions': str(len(data.starts('all'))),
        f'at {1 / info.spec.dt:g} Hz': _duration(len(data) * info.spec.dt),
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


def _sync(data: TransitionDataset) -> str:
    """Return the recordings with the largest share of held or repeated values first."""
    rows = []
    for name, meta in data.metas.items():
        shares = [meta['counts'].get(key, 0) / max(meta['rows'], 1) for key in _SYNC]
        rows.append((max(shares), name, meta['time'], shares, meta.get('frame_period')))
    rows.sort(key=lambda row: (-row[0], row[1]))
    cells = [
        [
            name,
            *(f'{share:.1%}' for share in shares),
            f'{period:.3g} s' if period else '',
            f'{clock["base"]}: {clock["why"]}',
        ]
        for _, name, clock, shares, period in rows[:_WORST]
    ]
    head = ['recording, worst first', *_SYNC, 'between frames', 'clock']
    return _table(head, cells) + _more(len(rows))


def _gaps(data: TransitionDataset) -> str:
    """Return the longest times between episodes of one recording."""
    gaps = []
    first = 0
    for name, meta in data.metas.items():
        here = data.episodes[first : first + len(meta['episodes'])]
        first += len(here)
        begin = data.stamps[here[0].start] if here else 0
        for before, after in pairwise(here):
            end, start = data.stamps[before.stop - 1], data.stamps[after.start]
            gaps.append(((start - end) / 1e9, name, (end - begin) / 1e9))
    if not gaps:
        return '<p>None: every recording is one episode.</p>'
    gaps.sort(key=lambda gap: (gap[0] > 0, -abs(gap[0])))  # a clock that went back comes first
    cells = [
        [name, f'{at:.2f} s', f'{gap:.2f} s' + ('' if gap > 0 else ' (the clock went back)')]
        for gap, name, at in gaps[:_WORST]
    ]
    return _table(['recording', 'after', 'without data for'], cells) + _more(len(gaps))


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
    return _table(['', 'what', 'how many', 'most in'], cells) + f'<ul>{listed}</ul>'


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
        f'{_table(head, cells)}<details><summary>configuration</summary><ul>{knobs}</ul></details>'
    )


def _episode(data: TransitionDataset, number: int, episode: Episode) -> list[str]:
    """Return the strip of an episode, and its actions and path."""
    info = data.info
    rows = np.arange(episode.start, episode.stop)
    some = rows[np.linspace(0, len(rows) - 1, min(_FRAMES, len(rows))).round().astype(int)]
    seconds = (rows - rows[0]) * info.spec.dt
    caption = (
        f'episode {number}, {"held out" if episode.split == "val" else "for training"}: '
        f'rows {episode.start} to {episode.stop - 1}, {_duration(len(rows) * info.spec.dt)}; '
        f'frames at {", ".join(f"{at:.1f}" for at in (some - rows[0]) * info.spec.dt)} s'
    )
    strip = np.concatenate([_small(frame) for frame in data.pixels(some)], axis=1)
    thin = slice(None, None, max(len(rows) // _POINTS, 1))
    actions, states = data.actions(rows), data.states(rows)
    curves = {
        name: (seconds[thin], values[thin])
        for name, values in zip(info.spec.fields, actions.T, strict=True)
    }
    charts = [report.line_chart('Actions', 'time [s]', curves)]
    if info.state_size:
        names = expand(info.robot['state']['fields'])
        charts.append(_path(names, seconds[thin], states[thin]))
    return [report.picture(strip, caption, strip.shape[1]), report.row(charts)]


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


def _small(frame: Array) -> Array:
    """Return a frame at the width of the strip."""
    height = round(_FRAME * frame.shape[0] / frame.shape[1])
    small: Array = cv2.resize(frame, (_FRAME, height), interpolation=cv2.INTER_NEAREST)
    return small


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    titles = ''.join(f'<th>{escape(title)}</th>' for title in head)
    lines = ''.join(
        f'<tr>{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>' for row in rows
    )
    return f'<table><tr>{titles}</tr>{lines}</table>'


def _more(count: int) -> str:
    """Say that a list goes on."""
    return f'<p>and {count - _WORST} more</p>' if count > _WORST else ''


def _duration(seconds: float) -> str:
    """Say a duration in the unit that suits it."""
    if seconds < 120:
        return f'{seconds:.1f} s'
    return f'{seconds / 60:.1f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'

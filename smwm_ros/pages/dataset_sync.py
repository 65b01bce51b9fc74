# SPDX-License-Identifier: Apache-2.0
"""The part of a dataset page on synchronisation: ages of frames and commands, clocks, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.pages import charts, html
from smwm_ros.pages.numbers import number
from smwm_ros.pages.parts import more, strip, table, WORST
from smwm_ros.pages.warnings import SHARES

_EACH = 5  # worst ticks of each thing that can be old
_MARKS = {'median below': 0.5, '99 % below': 0.99}  # shares of the ticks


def sync(data: TransitionDataset) -> list[str]:
    """Return how old frames and commands are, the worst ticks, recordings, and gaps."""
    return [
        '<h2>Synchronisation of topics</h2>',
        html.row(list(_histograms(data))),
        _worst_ticks(data),
        _recordings(data),
        *_lags(data),
        '<h2>Gaps between episodes</h2>',
        _gaps(data),
    ]


def _histograms(data: TransitionDataset) -> Iterator[str]:
    """Yield a histogram of the age of each thing at its ticks."""
    for name, parts in _ages(data).items():
        counts = np.sum([part['counts'] for part in parts], axis=0)
        beyond = sum(part['beyond'] for part in parts)
        limit = 1000 * parts[0]['limit']
        edges = np.linspace(0, limit or 1, len(counts) + 1)
        title = f'Age of the {name} at its tick' + (f' ({beyond} beyond)' if beyond else '')
        share = np.cumsum(counts) / max(counts.sum(), 1)
        marks = {
            f'{word} [ms]': edges[1:][np.searchsorted(share, at)] for word, at in _MARKS.items()
        }
        yield charts.bars(
            title, 'age [ms]', 'ticks', counts, edges, marks if counts.any() else {}, 'ms'
        )


def _ages(data: TransitionDataset) -> dict[str, list[Mapping[str, Any]]]:
    """Return the age statistics of each stream, by shard."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for meta in data.metas.values():
        for name, part in meta.get('ages', {}).items():
            found.setdefault(name, []).append(part)
    return found


def _worst_ticks(data: TransitionDataset) -> str:
    """Return the ticks that hold the oldest, with the frames before and after them."""
    before = accumulate((meta['rows'] for meta in data.metas.values()), initial=0)
    begins = dict(zip(data.metas, before, strict=False))
    rows, pictures = [], []
    for name in _ages(data):
        found = sorted(
            (-age, shard, row)
            for shard, meta in data.metas.items()
            for row, age in meta.get('ages', {}).get(name, {'worst': []})['worst']
        )
        for age, shard, row in found[:_EACH]:
            begin, end = begins[shard], begins[shard] + data.metas[shard]['rows']
            seconds = (data.stamps[begin + row] - data.stamps[begin]) / 1e9
            rows.append([f'{name} {-1000 * age:.0f} ms old', shard, f'{seconds:.2f} s'])
            around = np.clip(begin + row + np.array([-1, 0, 1]), begin, end - 1)
            frames = strip(data.pixels(around), data.actions(around), data.info.spec)
            pictures.append(html.picture(frames, width=frames.shape[1]))
    if not rows:
        rest = ' and a command' if not data.unknown else ''
        return f'<p>Every tick has a frame{rest} of its own period.</p>'
    head = ['previous, worst and next tick', 'age', 'recording', 'at']
    return table(head, rows, pictures)


def _recordings(data: TransitionDataset) -> str:
    """Return the recordings with the largest share of held or repeated values first."""
    rows = []
    for name, meta in data.metas.items():
        shares = [meta['counts'].get(key, 0) / max(meta['rows'], 1) for key in SHARES]
        rows.append((max(shares), name, meta['time'], shares, meta.get('frame_period')))
    rows.sort(key=lambda row: (-row[0], row[1]))
    cells = [
        [
            name,
            *(f'{share:.1%}' for share in shares),
            f'{number(period)} s' if period else '',
            f'{clock["base"]}: {clock["why"]}',
        ]
        for _, name, clock, shares, period in rows[:WORST]
    ]
    head = ['recording, worst first', *SHARES, 'frame period', 'clock']
    return table(head, cells) + more(len(rows))


def _lags(data: TransitionDataset) -> list[str]:
    """Return the lag of the motion in each recording, the largest first, nothing if unmeasured."""
    lags = [(name, meta['lag']) for name, meta in data.metas.items() if 'lag' in meta]
    if not lags:
        return []
    lags.sort(key=lambda item: (not item[1]['clear'], -abs(item[1]['ticks']), item[0]))
    cells = [
        [
            name,
            f'{lag["ticks"]} ({number(lag["seconds"])} s)' if lag['clear'] else 'unclear',
            number(lag['r2']),
            number(lag['r2_configured']),
            lag['why'],
        ]
        for name, lag in lags[:WORST]
    ]
    head = ['recording, largest lag first', 'lag [ticks]', 'R2', 'R2 as configured', 'remark']
    return [
        '<h2>Lag of the motion behind the actions</h2>',
        '<p>R2 of the actions, predicted from the motion in the images. Add a lag to '
        'dataset.command_delay, and convert again.</p>',
        table(head, cells) + more(len(lags)),
    ]


def _gaps(data: TransitionDataset) -> str:
    """Return the longest times between episodes of one recording."""
    gaps = []
    first = 0
    for name, meta in data.metas.items():
        here = data.drives[first : first + len(meta['episodes'])]
        first += len(here)
        begin = data.stamps[here[0].start] if here else 0
        for before, after in pairwise(here):
            end, start = data.stamps[before.stop - 1], data.stamps[after.start]
            gaps.append(((start - end) / 1e9, name, (end - begin) / 1e9))
    if not gaps:
        return '<p>None: every recording is one episode.</p>'
    gaps.sort(key=lambda gap: (gap[0] > 0, -abs(gap[0])))  # clocks that stepped back come first
    cells = [
        [name, f'{at:.2f} s', f'{gap:.2f} s' + ('' if gap > 0 else ' (the clock stepped back)')]
        for gap, name, at in gaps[:WORST]
    ]
    return table(['recording', 'after', 'without data for'], cells) + more(len(gaps))

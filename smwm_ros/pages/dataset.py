# SPDX-License-Identifier: Apache-2.0
"""The page of a dataset: contents, synchronisation of topics, dropped ticks, sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import actions_in_words, noted_in_words
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.data.motion_lag import clear_lags
from smwm_ros.pages import charts, html
from smwm_ros.pages.dataset_sync import sync
from smwm_ros.pages.episode import camera, episode, legend_of_strips
from smwm_ros.pages.html import escape
from smwm_ros.pages.lag import lag, section
from smwm_ros.pages.numbers import number, unit, with_unit
from smwm_ros.pages.parts import duration, table
from smwm_ros.pages.warnings import warnings
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.text import count_of

_FILMED = 3  # episodes


def contact_sheet(
    data: TransitionDataset, count: int, progress: ShowProgress = NoProgress
) -> tuple[str, int]:
    """Return the page, and how many episodes it shows."""
    shown = evenly_spaced(np.arange(len(data.episodes)), count, rounded=True).tolist()
    motion = lag(data)
    body = [
        html.tiles(_facts(data)),
        *([f'<p>Actions: {escape(words)}.</p>'] if (words := actions_in_words(data)) else []),
        *(f'<p>{escape(words)}.</p>' for words in noted_in_words(data)),
        *camera(data),
        '<h2>Distributions</h2>',
        html.row(list(_histograms(data))),
        *section(motion),
        *sync(data),
        '<h2>Dropped ticks</h2>',
        _losses(data),
        '<h2>Sources</h2>',
        _sources(data),
        f'<h2>Episodes ({len(shown)} of {len(data.episodes)})</h2>',
        legend_of_strips(data),
    ]
    for place, each in enumerate(progress(shown, desc='drawing', unit=' episodes')):
        body += episode(data, each, data.episodes[each], filmed=place < _FILMED)
    title = f'Dataset {data.folder.resolve().name}'
    about = (
        f'Contents: {count_of(len(data.metas), "recording", ",")}, '
        f'{duration(len(data) * data.info.spec.dt)} of driving.'
    )
    cautions = warnings(data)
    if motion and motion.warning and not clear_lags(data):  # the lag is the better estimate
        cautions.append(motion.warning)
    return html.page(title, about, body, cautions, data.pixels(np.array([0]))[0]), len(shown)


def _facts(data: TransitionDataset) -> dict[str, str]:
    """Return the key figures."""
    info = data.info
    mine = [episode for episode in data.episodes if episode.split == 'val']
    held_out = sum(episode.stop - episode.start for episode in mine) / len(data)
    number_of, episodes = count_of(len(data.drives), 'episode', ',').split()
    return {
        f'{episodes}, {held_out:.0%} held out': number_of,
        'ticks': f'{len(data):,}',
        f'transitions of {count_of(info.action_block, "action")}': f'{len(data.starts("all")):,}',
        f'at {number(1 / info.spec.dt)} Hz': duration(len(data) * info.spec.dt),
        'pixels a side': str(info.image_size),
        'fingerprint': data.fingerprint,
    }


def _histograms(data: TransitionDataset) -> Iterator[str]:
    """Yield a histogram of each command, and of the lengths of the episodes."""
    info = data.info
    spans = [np.arange(item.start, item.stop) for item in data.episodes]
    rows = np.concatenate(spans)
    actions = data.actions(rows[data.confidence(rows) > 0])
    for name, values, low, high in zip(
        info.spec.fields, actions.T, info.spec.low, info.spec.high, strict=True
    ):
        if not len(values):
            continue
        outside = float(((values < low) | (values > high)).mean())
        beyond = f', {outside:.1%} beyond' if outside else ''
        title = f'{name} (limits {number(low)} to {number(high)}{beyond})'
        marks = {'mean': float(values.mean())}
        yield charts.histogram(title, with_unit(name), 'ticks', values, marks, unit(name))
    lengths = np.array([len(span) for span in spans]) * info.spec.dt
    marks = {'median': float(np.median(lengths))}
    yield charts.histogram('Length of episodes', 'length [s]', 'episodes', lengths, marks, 's')


def _losses(data: TransitionDataset) -> str:
    """Return dropped and counted ticks, and the recording with most of each."""
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
    return table(['', 'reason', 'ticks', 'most in'], cells) + f'<ul>{listed}</ul>'


def _sources(data: TransitionDataset) -> str:
    """Return the files that the dataset was made of, and the knobs."""
    cells = [
        [
            name,
            ', '.join(meta['source']['files'][:3]),
            f'{meta["source"]["bytes"] / 1e6:.1f} MB',
            meta['source']['fingerprint'],
            meta['outcome'],
            meta['task'],
            ', '.join(f'{key} {value}' for key, value in meta['versions'].items()),
        ]
        for name, meta in data.metas.items()
    ]
    head = ['recording', 'files', 'size', 'fingerprint', 'outcome', 'task', 'made with']
    knobs = ''.join(
        f'<li>{escape(f"{section}.{key}={value}")}</li>'
        for section, values in (('robot', data.info.robot), ('dataset', data.info.dataset))
        for key, value in values.items()
    )
    return (
        f'{table(head, cells)}<details><summary>configuration</summary><ul>{knobs}</ul></details>'
    )

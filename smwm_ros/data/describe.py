# SPDX-License-Identifier: Apache-2.0
"""Describe the content and the sources of a dataset as text."""

from __future__ import annotations

from collections import Counter

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import cuttable, gap_of
from smwm_ros.text import count_of


def describe(data: TransitionDataset) -> list[str]:
    """Return the description of a dataset, as lines of text."""
    info = data.info
    transitions = len(data.starts('all'))
    lines = [
        f'{data.folder}: {count_of(len(data.drives), "episode")} ({_held_out(data)}), '
        f'{count_of(len(data), "tick")}, {count_of(transitions, "transition")} of '
        f'{count_of(info.action_block, "action")}, '
        f'{_duration(len(data) * info.spec.dt)} at {1 / info.spec.dt:g} Hz',
    ]
    actions = data.actions(np.arange(len(data))).astype(np.float64)
    for name, mine, low, high in zip(
        info.spec.fields, actions.T, info.spec.low, info.spec.high, strict=True
    ):
        variation = f'+- {mine.std():.3g}' if np.ptp(mine) else 'always'
        lines.append(f'  {name}: {mine.mean():.3g} {variation}, limits {low:g} to {high:g}')
    lines += _ages(data)
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for name, meta in data.metas.items():
        counts.update(meta['counts'])
        dropped.update(meta['dropped'])
        clock = meta['time']
        lines.append(
            f'  {name}: {count_of(meta["rows"], "tick")} by {clock["base"]} time ({clock["why"]})'
        )
        lines += [f'    {note}' for note in meta['notes']]
        lines += [f'    damaged: {text}' for text in meta['faults'].values()]
    lines += [
        f'  dropped {count_of(count, "tick")}: {why}' for why, count in dropped.items() if count
    ]
    lines += [f'  {name}: {count}' for name, count in counts.items() if count]
    return lines


def warnings(data: TransitionDataset) -> list[str]:
    """Return warnings about what prevents training with a dataset."""
    if len(data.starts('val')):
        return []
    if not data.info.dataset['val_share']:
        return [
            'no episode is held out, because dataset.val_share is 0; smwm train requires held-out '
            'episodes'
        ]
    dt = data.info.spec.dt
    enough = cuttable(gap_of(data.info.action_block, dt)) * dt
    return [
        'no episode is held out, but smwm train requires held-out episodes: record several '
        f'drives, or one of at least {enough:.3g} s without a gap'
    ]


def _held_out(data: TransitionDataset) -> str:
    """Return how much is held out, as text."""
    mine = [episode for episode in data.episodes if episode.split == 'val']
    ticks = sum(episode.stop - episode.start for episode in mine)
    place = 'episode' if len(data.drives) == len(data.episodes) else 'stretch'
    return f'{ticks / len(data):.0%} held out, in {count_of(len(mine), place)}'


def _ages(data: TransitionDataset) -> list[str]:
    """Return the maximum age of each input at its tick, as text."""
    oldest: dict[str, float] = {}
    for meta in data.metas.values():
        for name, part in meta.get('ages', {}).items():
            age = part['worst'][0][1] if part['worst'] else 0.0
            oldest[name] = max(oldest.get(name, 0.0), age)
    words = [f'{name} {1000 * age:.0f} ms' for name, age in oldest.items()]
    return [f'  maximum age at a tick: {", ".join(words)}'] if words else []


def _duration(seconds: float) -> str:
    """Return a duration as text, in s, min or h."""
    if seconds < 120:
        return f'{seconds:.1f} s'
    return f'{seconds / 60:.1f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'

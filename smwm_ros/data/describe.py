# SPDX-License-Identifier: Apache-2.0
"""Describe the content and the sources of a dataset as text."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.motion_lag import lag_lines
from smwm_ros.data.outcomes import in_words
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
    rows = np.arange(len(data))
    actions = data.actions(rows[data.confidence(rows) > 0]).astype(np.float64)
    for name, mine, low, high in zip(
        info.spec.fields, actions.T, info.spec.low, info.spec.high, strict=True
    ):
        mean = 'unknown'
        if len(mine):
            variation = f'+- {mine.std():.3g}' if np.ptp(mine) else 'always'
            mean = f'{mine.mean():.3g} {variation}'
        lines.append(f'  {name}: {mean}, limits {low:g} to {high:g}')
    if words := actions_in_words(data):
        lines.append(f'  actions: {words}')
    lines += [f'  {line}' for line in noted_in_words(data)]
    lines += _ages(data)
    lines += [f'  {line}' for line in lag_lines(data)]
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for name, meta in data.metas.items():
        counts.update(meta['counts'])
        dropped.update(meta['dropped'])
        clock = meta['time']
        lines.append(
            f'  {name}: {count_of(meta["rows"], "tick")} by {clock["base"]} time ({clock["why"]})'
        )
        if found := meta['versions'].get('cv_bridge'):
            lines.append(f'    images: converted by cv_bridge {found}')
        lines += [f'    {note}' for note in meta['notes']]
        lines += [f'    damaged: {text}' for text in meta['faults'].values()]
    lines += [
        f'  dropped {count_of(count, "tick")}: {why}' for why, count in dropped.items() if count
    ]
    lines += [f'  {name}: {count}' for name, count in counts.items() if count]
    return lines


def origin_of_actions(data: TransitionDataset) -> dict[str, Any]:
    """Return how many ticks have a recorded action, a label or neither, and who labelled."""
    rows = np.arange(len(data))
    recorded = data.recorded(rows)
    labels = data.confidence(rows[~recorded])
    labels = labels[labels > 0]
    return {
        'recorded': int(recorded.sum()),
        'labelled': len(labels),
        'unlabelled': data.unknown,
        'mean_confidence': float(labels.mean()) if len(labels) else None,
        'labelled_by': sorted({found.about['run'] for found in data.labels.values()}),
    }


def actions_in_words(data: TransitionDataset) -> str:
    """Return where the actions come from as text; '' if all are recorded."""
    found = origin_of_actions(data)
    if found['recorded'] == len(data):
        return ''
    words = f'{count_of(found["recorded"], "tick")} recorded'
    if found['labelled']:
        words += (
            f', {found["labelled"]} labelled by {", ".join(found["labelled_by"])} (mean '
            f'confidence {found["mean_confidence"]:.2f})'
        )
    return f'{words}, {found["unlabelled"]} unlabelled'


def noted_in_words(data: TransitionDataset) -> list[str]:
    """Return outcomes and tasks that were recorded with the episodes, as lines of text."""
    lines = []
    if any(drive.outcome for drive in data.drives):
        lines.append(f'outcomes: {in_words(data.drives)}')
    tasks = Counter(drive.task for drive in data.drives if drive.task)
    return lines + [f'task of {count_of(n, "episode")}: {task}' for task, n in tasks.items()]


def warnings(data: TransitionDataset) -> list[str]:
    """Return warnings about what prevents training with a dataset."""
    return [*_no_action(data), *_no_episode_held_out(data)]


def _no_action(data: TransitionDataset) -> list[str]:
    """Warn if no transition has a known action."""
    if len(data.starts('all')):
        return []
    return [
        'no transition has a known action: train a latent-action model on the dataset '
        '(model.kind=latent_action) and label it (smwm label)'
    ]


def _no_episode_held_out(data: TransitionDataset) -> list[str]:
    """Warn if no episode is held out."""
    if len(data.starts('val', unlabelled=True)):
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

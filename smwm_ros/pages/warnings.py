# SPDX-License-Identifier: Apache-2.0
"""Warnings about a dataset, for the top of its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import warnings as unfit
from smwm_ros.data.motion_lag import lag_warnings
from smwm_ros.pages.numbers import number

_DROPPED, _HELD = 0.05, 0.2  # shares of the ticks above which to warn
_BEYOND, _SATURATED = 0.01, 0.5
_NAMED = 5  # recordings that get lines of their own
SHARES = ('actions held', 'actions set to zero', 'frames shown again')  # counts of a shard


def warnings(data: TransitionDataset) -> list[str]:
    """Return the warnings about a dataset, as sentences."""
    return [*_sentences(unfit(data)), *odd(data)]


def odd(data: TransitionDataset) -> list[str]:
    """Return the warnings about its recordings, without those about the split."""
    return [*_dropped(data), *_sentences(lag_warnings(data)), *_commands(data), *_repaired(data)]


def _dropped(data: TransitionDataset) -> Iterator[str]:
    """Yield which shares of the ticks were dropped, held or repeated."""
    dropped, counts = Counter[str](), Counter[str]()
    for meta in data.metas.values():
        dropped.update(meta.get('dropped', {}))
        counts.update(meta.get('counts', {}))
    lost = sum(dropped.values())
    if lost > _DROPPED * (lost + len(data)):
        why, most = dropped.most_common(1)[0]
        yield (
            f'{lost / (lost + len(data)):.0%} of the ticks were dropped, {most:,} of them because '
            f'{why}.'
        )
    for name in SHARES:
        if counts[name] > _HELD * len(data):
            yield f'In {counts[name] / len(data):.0%} of the ticks: {name}.'


def _commands(data: TransitionDataset) -> Iterator[str]:
    """Yield which commands are beyond their limits, always at them, or never change."""
    spec = data.info.spec
    rows = np.arange(len(data))
    actions = data.actions(rows[data.confidence(rows) > 0])
    if not len(actions):
        return
    for name, values, low, high in zip(spec.fields, actions.T, spec.low, spec.high, strict=True):
        near = 1e-3 * (high - low)
        beyond = float(((values < low - near) | (values > high + near)).mean())
        at = float(((values <= low + near) | (values >= high - near)).mean())
        limits = f'{number(low)} to {number(high)}'
        if not np.ptp(values):
            yield f'The command {name} never changes: it is always {number(float(values[0]))}.'
        elif beyond > _BEYOND:
            yield (
                f'The command {name} is beyond its limits ({limits}) in {beyond:.0%} of the '
                'ticks. Plans stay inside the limits: widen robot.command.low and high.'
            )
        elif at > _SATURATED:
            yield (
                f'The command {name} is at one of its limits ({limits}) in {at:.0%} of the ticks: '
                'it saturates.'
            )


def _repaired(data: TransitionDataset) -> Iterator[str]:
    """Yield what had to be repaired, and which topics hold damaged messages."""
    found = [
        f'{name}: {text}'
        for name, meta in data.metas.items()
        for text in [
            *meta.get('notes', ()),
            *(
                f'{topic}: damaged messages; {what}'
                for topic, what in meta.get('faults', {}).items()
            ),
        ]
    ]
    yield from _sentences(found[:_NAMED])
    if len(found) > _NAMED:
        yield f'{len(found) - _NAMED} more such notes are below, under Dropped ticks.'


def _sentences(lines: list[str]) -> list[str]:
    """Return lines with a full stop at the end; the first word keeps its case."""
    return [line if line.endswith('.') else f'{line}.' for line in lines]

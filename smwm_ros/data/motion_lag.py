# SPDX-License-Identifier: Apache-2.0
"""Describe the lag of the motion behind the actions, which smwm convert measured in each bag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.text import count_of

_NAMED = 3  # recordings that are named in a line


def lag_lines(data: TransitionDataset) -> list[str]:
    """Return lag and remedy as text: one line, or one for each lag if recordings differ."""
    by_ticks: dict[int, list[str]] = {}
    reasons: dict[str, list[str]] = {}
    for name, lag in _lags(data).items():
        if lag['clear']:
            by_ticks.setdefault(lag['ticks'], []).append(name)
        else:
            reasons.setdefault(lag['why'], []).append(name)
    groups = sorted(by_ticks.items(), key=lambda group: -len(group[1]))
    lines = [_line(data, ticks, names, len(groups) > 1) for ticks, names in groups]
    if len(groups) > 1:
        others = [name for _, names in groups[1:] for name in names]
        lines.append(
            f'recordings differ in this lag: check the clocks of {_named(others)} (dataset.time)'
        )
    if reasons:
        why, names = max(reasons.items(), key=lambda reason: len(reason[1]))
        found = f'the lag of the motion behind the actions is unclear{_where(data, names)}: {why}'
        lines.append(found + _fit(data, names))
    return lines


def lag_warnings(data: TransitionDataset) -> list[str]:
    """Return the same lines if a recording has a lag, else nothing."""
    return lag_lines(data) if any(lag['ticks'] for lag in clear_lags(data).values()) else []


def clear_lags(data: TransitionDataset) -> dict[str, Mapping[str, Any]]:
    """Return the lags that are clear, by recording."""
    return {name: lag for name, lag in _lags(data).items() if lag['clear']}


def _lags(data: TransitionDataset) -> dict[str, Mapping[str, Any]]:
    """Return what was measured in each recording; older conversions measured nothing."""
    return {name: meta['lag'] for name, meta in data.metas.items() if 'lag' in meta}


def _line(data: TransitionDataset, ticks: int, names: list[str], differ: bool) -> str:
    """Describe the recordings that have one lag, and say what to do."""
    words = f'the motion {_verb(ticks)} the actions{_where(data, names)}{_fit(data, names)}'
    if not ticks:
        return words
    delay = data.info.dataset['command_delay'] + data.metas[names[0]]['lag']['seconds']
    how = 'these apart' if differ else 'again'
    return f'{words}: convert {how} with dataset.command_delay={delay:g}'


def _verb(ticks: int) -> str:
    """Return what the motion does."""
    if not ticks:
        return 'does not lag behind'
    count = count_of(abs(ticks), 'tick')
    return f'lags {count} behind' if ticks > 0 else f'is {count} ahead of'


def _fit(data: TransitionDataset, names: list[str]) -> str:
    """Return how well the motion explains the actions, by the median over recordings."""
    lags = [data.metas[name]['lag'] for name in names]
    r2, configured = (np.median([lag[key] for lag in lags]) for key in ('r2', 'r2_configured'))
    other = f', as configured {configured:.2f}' if configured != r2 else ''
    return f' (R2 {r2:.2f}{other})' if r2 else ''


def _where(data: TransitionDataset, names: list[str]) -> str:
    """Return which recordings are meant, nothing for all of them."""
    return f' in {_named(names)}' if len(names) < len(data.metas) else ''


def _named(names: list[str]) -> str:
    """Return the first names as text."""
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more

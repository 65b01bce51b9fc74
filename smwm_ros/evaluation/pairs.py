# SPDX-License-Identifier: Apache-2.0
"""Pairs of start and goal: two frames of one episode, `offset` raw steps apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of


class Pair(NamedTuple):
    """A start and a goal, both measured in one episode."""

    start_state: Array  # (P,)
    goal_state: Array  # (P,)
    start_row: int  # in the dataset, or in all fresh episodes joined in order
    goal_row: int
    episode: int  # of both; pairs of one episode are correlated


def draw_pairs(dataset: TransitionDataset, settings: config.Evaluate) -> list[Pair]:
    """Draw pairs from the held-out episodes without replacement, by evaluate.seed."""
    where = str(dataset.folder)
    if not dataset.info.state_size:
        raise DatasetError(
            f'{where}: the dataset has no measured state, expected one for start and goal; '
            'convert the bags again with robot.state'
        )
    lengths = [e.stop - e.start for e in dataset.episodes if e.split == 'val']
    starts = dataset.starts('val', settings.offset, unlabelled=True)
    # The arena is placed at measured states, so both frames must have one.
    starts = starts[dataset.measured(starts) & dataset.measured(starts + settings.offset)]
    _require(where, len(starts), max(lengths, default=0), settings)
    rows = np.random.default_rng(settings.seed).choice(starts, settings.pairs, replace=False)
    goals = rows + settings.offset
    firsts = [episode.start for episode in dataset.episodes]
    episodes = np.searchsorted(firsts, rows, side='right') - 1
    states = zip(dataset.states(rows), dataset.states(goals), rows, goals, episodes, strict=True)
    return [Pair(start, goal, int(row), int(to), int(one)) for start, goal, row, to, one in states]


def fresh_pairs(
    episodes: Sequence[Array],  # (L, P) measured states of each
    settings: config.Evaluate,
) -> list[Pair]:
    """Draw pairs from fresh episodes without replacement, by evaluate.seed."""
    offset, firsts, starts = settings.offset, [0], list[int]()
    for states in episodes:
        starts += range(firsts[-1], firsts[-1] + len(states) - offset)
        firsts.append(firsts[-1] + len(states))
    longest = max(map(len, episodes), default=0)
    _require('fresh episodes', len(starts), longest, settings)
    rows = np.random.default_rng(settings.seed).choice(starts, settings.pairs, replace=False)
    every = np.concatenate(episodes)
    found = zip(rows.tolist(), np.searchsorted(firsts, rows, side='right') - 1, strict=True)
    return [Pair(every[r], every[r + offset], r, r + offset, int(one)) for r, one in found]


def _require(where: str, found: int, longest: int, settings: config.Evaluate) -> None:
    """Raise unless there are evaluate.pairs candidates."""
    if found < settings.pairs:
        raise DatasetError(
            f'{where}: found {count_of(found, "pair")} of held-out frames with a measured state '
            f'{count_of(settings.offset, "raw step")} apart, expected at least '
            f'{settings.pairs} (evaluate.pairs); lower evaluate.pairs or evaluate.offset (the '
            f'longest held-out episode has {count_of(longest, "frame")})'
        )

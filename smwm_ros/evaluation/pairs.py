# SPDX-License-Identifier: Apache-2.0
"""Pairs of start and goal: two frames of one episode, `offset` raw steps apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


IsSolved = Callable[[Pair], bool]  # whether the start of a pair already counts as its goal


def draw_pairs(
    dataset: TransitionDataset, settings: config.Evaluate, solved: IsSolved | None = None
) -> list[Pair]:
    """
    Draw pairs from the held-out episodes without replacement, by evaluate.seed.

    With `solved`, as many pairs follow as the first evaluate.pairs have that are solved at the
    start, so that evaluate.pairs of them are not.
    """
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
    firsts = [episode.start for episode in dataset.episodes]

    def pair(row: int) -> Pair:
        goal = row + settings.offset
        start_state, goal_state = dataset.states(np.array([row, goal]))
        episode = int(np.searchsorted(firsts, row, side='right')) - 1
        return Pair(start_state, goal_state, row, goal, episode)

    return _draw(where, starts, max(lengths, default=0), settings, pair, solved)


def fresh_pairs(
    episodes: Sequence[Array],  # (L, P) measured states of each
    settings: config.Evaluate,
    solved: IsSolved | None = None,
) -> list[Pair]:
    """Draw pairs from fresh episodes as draw_pairs does."""
    offset, firsts, starts = settings.offset, [0], list[int]()
    for states in episodes:
        starts += range(firsts[-1], firsts[-1] + len(states) - offset)
        firsts.append(firsts[-1] + len(states))
    every = np.concatenate(episodes)

    def pair(row: int) -> Pair:
        episode = int(np.searchsorted(firsts, row, side='right')) - 1
        return Pair(every[row], every[row + offset], row, row + offset, episode)

    longest = max(map(len, episodes), default=0)
    return _draw('fresh episodes', np.array(starts), longest, settings, pair, solved)


def share_of_starts(lengths: Sequence[int], offset: int) -> float:
    """Return the share of frames that may be starts: none of the last `offset` of an episode."""
    return sum(max(0, length - offset) for length in lengths) / max(1, sum(lengths))


def _draw(
    where: str,
    starts: Array,  # rows, each as likely as the others
    longest: int,
    settings: config.Evaluate,
    pair: Callable[[int], Pair],
    solved: IsSolved | None,
) -> list[Pair]:
    """Draw pairs; with `solved`, until evaluate.pairs of them are not solved at the start."""
    wanted = settings.pairs
    _require(where, len(starts), longest, settings)
    rng = np.random.default_rng(settings.seed)
    rows = rng.choice(starts, wanted, replace=False)
    pairs = [pair(int(row)) for row in rows]
    if solved is None:
        return pairs
    missing = sum(map(solved, pairs))
    for row in rng.permutation(np.setdiff1d(starts, rows)):
        if not missing:
            break
        further = pair(int(row))
        if not solved(further):
            pairs.append(further)
            missing -= 1
    if missing:
        raise DatasetError(
            f'{where}: {wanted - missing} of {count_of(len(starts), "pair")} '
            f'{count_of(settings.offset, "raw step")} apart are not solved at the start, '
            f'expected {wanted} (evaluate.pairs); raise evaluate.offset or '
            '--horizons, so that goals are farther away, or lower evaluate.pairs'
        )
    return pairs


def _require(where: str, found: int, longest: int, settings: config.Evaluate) -> None:
    """Raise unless there are evaluate.pairs candidates."""
    if found < settings.pairs:
        raise DatasetError(
            f'{where}: found {count_of(found, "pair")} of held-out frames with a measured state '
            f'{count_of(settings.offset, "raw step")} apart, expected at least '
            f'{settings.pairs} (evaluate.pairs); lower evaluate.pairs or evaluate.offset (the '
            f'longest held-out episode has {count_of(longest, "frame")})'
        )

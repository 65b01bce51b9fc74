# SPDX-License-Identifier: Apache-2.0
"""
Goals for the windows of a batch, which an actor is trained on: later rows of the same episodes.

The rows of a batch are then (2, B): where its windows start, and their goals. A batch still
depends on the dataset, the seed and the step alone, and every feed gives the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.interfaces import Array


class WithGoals:
    """Adds a goal to each window of a sampler."""

    def __init__(
        self,
        sampler: Callable[[int], Array],
        dataset: TransitionDataset,
        reach: int,  # of goals [raw steps]
        seed: int,
    ) -> None:
        self._sampler, self._dataset, self._reach, self._seed = sampler, dataset, reach, seed

    def __call__(self, step: int) -> Array:
        """Return the rows (2, B) of a step."""
        return with_goals(self._sampler(step), self._dataset, self._reach, [self._seed, step])


def with_goals(
    starts: Array, dataset: TransitionDataset, reach: int, seed: Sequence[int]
) -> Array:
    """
    Return rows (2, n): starts, and goals drawn uniformly from 1 to `reach` raw steps ahead.

    A goal is of the same episode, so that no training window has a held-out one.
    """
    ends = np.array([episode.stop - 1 for episode in dataset.episodes])  # rising
    most = np.minimum(ends[np.searchsorted(ends, starts)] - starts, reach)
    return np.stack([starts, np.random.default_rng(seed).integers(starts + 1, starts + most + 1)])


def raw_steps_left(rows: Array, steps: int, block: int) -> Array:
    """Return the raw steps (T, B, K) from each raw action of windows to their goals, float32."""
    starts, goals = rows
    done = np.arange(steps * block).reshape(steps, 1, block)
    left: Array = ((goals - starts)[:, None] - done).astype(np.float32)
    return left

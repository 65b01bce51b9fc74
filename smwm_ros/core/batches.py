# SPDX-License-Identifier: Apache-2.0
"""Batches of transitions, a function of the dataset, the seed and the step alone."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.interfaces import Array, Obs, Transition
from smwm_ros.errors import DatasetError
import torch


class Batches(NamedTuple):
    """Where batches come from."""

    dataset: TransitionDataset
    mean: Array  # (A,) of the raw actions
    std: Array  # (A,)
    device: torch.device

    def at(self, rows: Array) -> Transition:
        """Return the transitions that start at these rows."""
        sequence = self.dataset.sequence(rows, steps=1)
        pixels = torch.from_numpy(sequence.pixels).to(self.device).permute(0, 1, 4, 2, 3)
        states = torch.from_numpy(sequence.states).to(self.device)
        block = self.dataset.info.action_block
        action = (sequence.actions[:, 0] - np.tile(self.mean, block)) / np.tile(self.std, block)
        return Transition(
            Obs(pixels[:, 0], states[:, 0]),
            torch.from_numpy(action.astype(np.float32)).to(self.device),
            Obs(pixels[:, 1], states[:, 1]),
        )


class Shuffle:
    """Deals the rows in epochs, each in an order of its own."""

    def __init__(self, rows: Array, batch: int, seed: int) -> None:
        self._rows, self._batch, self._seed = rows, batch, seed
        self._orders: dict[int, Array] = {}

    def __call__(self, step: int) -> Array:
        """Return the rows of a step; a batch may reach into the next epoch."""
        place = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(place, len(self._rows))
        self._orders = {int(epoch): self._order(int(epoch)) for epoch in np.unique(epochs)}
        order = [self._orders[int(epoch)][at] for epoch, at in zip(epochs, places, strict=True)]
        rows: Array = self._rows[order]
        return rows

    def _order(self, epoch: int) -> Array:
        if epoch in self._orders:
            return self._orders[epoch]
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._rows))


def check(dataset: TransitionDataset) -> None:
    """Refuse a dataset that nothing can be learnt from."""
    where, count = dataset.folder, len(dataset.episodes)
    for split, name in (('train', 'training'), ('val', 'held-out')):
        if not len(dataset.starts(split)):
            raise DatasetError(
                f'{where}: no {name} transitions in {count} episode(s); expected at least two '
                f'episodes longer than {dataset.info.action_block} ticks, and dataset.val_share '
                'above 0'
            )
    rows = np.concatenate([np.arange(e.start, e.stop) for e in dataset.episodes])
    actions = dataset.actions(rows)
    bad = rows[~np.isfinite(actions).all(axis=1)]
    if len(bad):
        raise DatasetError(f'{where}: {len(bad)} actions are not finite, first in row {bad[0]}')
    constant = np.ptp(actions, axis=0) == 0
    if constant.all():
        raise DatasetError(
            f'{where}: all actions are the same ({actions[0].tolist()}); the robot must move for '
            'a world model to learn how'
        )
    for name in np.array(dataset.info.spec.fields)[constant]:
        print(f'warning: {where}: {name} never changes; it will not be planned', file=sys.stderr)

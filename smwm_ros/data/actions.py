# SPDX-License-Identifier: Apache-2.0
"""The raw actions of a dataset: recorded, labelled or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from smwm_ros.data.labels import Labels
from smwm_ros.interfaces import ActionScaler, ActionSpec, Array


class Actions(NamedTuple):
    """The raw actions of all rows, where they come from, and the confidence in them."""

    values: Array  # (rows, A) float32, physical; NaN where unknown
    recorded: Array  # (rows,) bool
    confidence: Array  # (rows,) float32: 1 recorded, 0 to 1 labels, 0 unknown
    unknown_before: Array  # (rows+1,) int64: how many of the rows before each one are unknown

    def known(self, rows: Array, ticks: int) -> Array:
        """Return at which rows (n,) the actions of so many ticks are all known (n,) bool."""
        known: Array = self.unknown_before[rows] == self.unknown_before[rows + ticks]
        return known

    def scaler(self, training: Array, spec: ActionSpec) -> ActionScaler:
        """
        Return mean and standard deviation of the known actions of training rows (n,).

        Without any, they are those of a uniform distribution between the limits.
        """
        actions = self.values[training[self.confidence[training] > 0]].astype(np.float64)
        low, high = np.asarray(spec.low), np.asarray(spec.high)
        if not len(actions):
            return ActionScaler((low + high) / 2, (high - low) / 2 / np.sqrt(3))
        # A lower bound, so that an action that never changed does not divide by zero.
        floor = 1e-3 * (high - low)
        return ActionScaler(actions.mean(0), np.maximum(actions.std(0), floor))


def fill(recorded: Array, labels: Mapping[int, Labels]) -> Actions:
    """Fill unknown actions (rows, A) with the labels of shards, by the first row of each."""
    values = recorded.copy()
    known = np.asarray(np.isfinite(recorded).all(axis=1))
    confidence = known.astype(np.float32)
    for first, found in labels.items():
        here = slice(first, first + len(found.action))
        missing = (confidence[here] == 0) & np.isfinite(found.action).all(axis=1)
        values[here][missing] = found.action[missing]
        confidence[here][missing] = found.confidence[missing]
    values[confidence == 0] = np.nan  # a label without confidence does not count
    return Actions(values, known, confidence, np.append(0, np.cumsum(confidence == 0)))

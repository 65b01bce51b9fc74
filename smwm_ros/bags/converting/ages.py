# SPDX-License-Identifier: Apache-2.0
"""Histograms of the age of frames, commands and states at their ticks, and the oldest ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from smwm_ros.bags.reading.clock import nanoseconds
from smwm_ros.config import Dataset
from smwm_ros.data.shards import BINS
from smwm_ros.interfaces import Array

_WORST = 10  # ticks that are listed


class Ages:
    """The ages of one input, such as the frame; ages above a limit are only counted."""

    def __init__(self, limit: float) -> None:
        self._limit = limit  # [s]
        self._counts = np.zeros(BINS, np.int64)
        self._beyond = 0
        self._worst: list[tuple[int, int]] = []  # negative age [ns], row

    def add(self, age: Array, row: int) -> None:
        """Add the ages (m,) [ns] of consecutive rows, the first of which is `row`."""
        limit = nanoseconds(self._limit)
        within = age <= limit
        self._beyond += int((~within).sum())
        place = np.minimum(age[within] * BINS // max(limit, 1), BINS - 1)
        self._counts += np.bincount(place, minlength=BINS)
        old = np.flatnonzero(within & (age > 0))
        old = old[np.argsort(-age[old], kind='stable')][:_WORST]
        found = zip((-age[old]).tolist(), (row + old).tolist(), strict=True)
        self._worst = sorted([*self._worst, *found])[:_WORST]

    def about(self) -> dict[str, Any]:
        """Return plain data for meta.json: equal bins from 0 to the limit, oldest rows [s]."""
        return {
            'limit': self._limit,
            'counts': self._counts.tolist(),
            'beyond': self._beyond,
            'worst': [[row, -age / 1e9] for age, row in self._worst],
        }


class AgeTable:
    """The ages of frames, commands and states."""

    def __init__(self, config: Dataset) -> None:
        self._config = config
        self._ages: dict[str, Ages] = {}

    def add(self, ages: Mapping[str, Array], row: int) -> None:
        """Add the ages (m,) [ns] of each input in the rows from `row` on."""
        for name, age in ages.items():
            limit = self._config.hold if name == 'command' else self._config.max_frame_age
            self._ages.setdefault(name, Ages(limit)).add(age, row)

    def about(self) -> dict[str, Any]:
        """Return plain data for meta.json, by input."""
        return {name: ages.about() for name, ages in self._ages.items()}

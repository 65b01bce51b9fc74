# SPDX-License-Identifier: Apache-2.0
"""How old what a tick holds was at that tick: histograms, and the worst ticks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from smwm_ros.bags.reading.clock import nanoseconds
from smwm_ros.config import Dataset
from smwm_ros.data.shards import BINS
from smwm_ros.interfaces import Array

_WORST = 10  # ticks remembered


class Ages:
    """The ages of one thing, such as the frame; those beyond a limit are only counted."""

    def __init__(self, limit: float) -> None:
        self._limit = limit  # [s]
        self._counts = np.zeros(BINS, np.int64)
        self._beyond = 0
        self._worst: list[tuple[int, int]] = []  # minus the age [ns], row

    def add(self, age: Array, row: int) -> None:
        """Take the ages (m,) [ns] of the rows from one on."""
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
        """Return what meta.json tells: even bins from 0 to the limit, and rows with ages [s]."""
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
        """Take the ages (m,) [ns] of each thing, by name, in the rows from one on."""
        for name, age in ages.items():
            limit = self._config.hold if name == 'command' else self._config.max_frame_age
            self._ages.setdefault(name, Ages(limit)).add(age, row)

    def about(self) -> dict[str, Any]:
        """Return what meta.json tells of each."""
        return {name: ages.about() for name, ages in self._ages.items()}

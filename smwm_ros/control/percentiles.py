# SPDX-License-Identifier: Apache-2.0
"""Exact percentiles of a running measurement, in bounded memory."""

from __future__ import annotations

from collections import deque

import numpy as np

# Ten thousand seconds at 10 Hz: exact over a trial, and over the last hours of a long run.
CAPACITY = 100_000


class Percentiles:
    """The latest values of one measurement; methods may be called from any thread."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._values: deque[float] = deque(maxlen=capacity)
        self.count = 0

    def add(self, value: float) -> None:
        """Add one value."""
        self._values.append(value)
        self.count += 1

    def percentile(self, percent: float) -> float:
        """Return a percentile, nan while there are no values."""
        values = self._values.copy()  # copying is atomic; another thread may append
        return float(np.percentile(values, percent)) if values else float('nan')

    def mean(self) -> float:
        """Return the mean, nan while there are no values."""
        values = self._values.copy()
        return float(np.mean(values)) if values else float('nan')

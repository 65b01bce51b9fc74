# SPDX-License-Identifier: Apache-2.0
"""The mean of a figure over seeds, as a row."""

from __future__ import annotations

from collections.abc import Sequence
import math

from common import Row
import numpy as np

T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # 97.5 % of Student's t, by degrees of freedom


def over_seeds(
    measure: str, unit: str, values: Sequence[float], peer: str = '', theirs: float | None = None
) -> Row:
    """Return the mean over seeds, with the interval of Student's t distribution."""
    mean, interval = float(np.mean(values)), None
    if len(values) > 1:
        half = T[len(values) - 1] * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        interval = (mean - half, mean + half)
    return Row(measure, mean, unit, '', peer, theirs, interval=interval)

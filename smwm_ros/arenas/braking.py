# SPDX-License-Identifier: Apache-2.0
"""How fast an expert may go towards a point, so that it can stop there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array


class Braking(NamedTuple):
    """An approach that ends like a first-order lag, after one with a constant deceleration."""

    time: float  # time constant of the end [s]
    deceleration: float | Array = np.inf  # [m/s2 or rad/s2], of all numbers or of each

    def duration(self, distance: float | Array) -> Array:
        """Return the times [s] in which to go distances [m or rad] at the present velocity."""
        least: Array = np.maximum(self.time, np.sqrt(np.divide(distance, self.deceleration) / 2))
        return least

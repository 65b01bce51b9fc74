# SPDX-License-Identifier: Apache-2.0
"""Some of many rows, as far apart as they can be."""

from __future__ import annotations

import numpy as np
from smwm_ros.interfaces import Array


def evenly_spaced(rows: Array, wanted: int, rounded: bool = False) -> Array:
    """
    Return `wanted` rows from the first to the last, or all where there are fewer.

    Places between two rows give the earlier one, or the nearer one if `rounded`.
    """
    places = np.linspace(0, len(rows) - 1, min(wanted, len(rows)))
    some: Array = rows[(places.round() if rounded else places).astype(np.int64)]
    return some

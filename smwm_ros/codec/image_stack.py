# SPDX-License-Identifier: Apache-2.0
"""
Several images as one observation: one image does not show a velocity.

The images are a control period apart, and their channels follow each other, the oldest first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from smwm_ros.interfaces import Array


def stacked(images: Sequence[Array]) -> Array:
    """Return images (..., S, S, 3), the oldest first, as observations (..., S, S, 3*H)."""
    return images[0] if len(images) == 1 else np.concatenate(images, axis=-1)


def at_rest(pixels: Array, count: int) -> Array:
    """Return observations (..., S, S, 3*H) in which nothing moves, of images (..., S, S, 3)."""
    return stacked([pixels] * count)

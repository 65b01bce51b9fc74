# SPDX-License-Identifier: Apache-2.0
"""Uneven brightness of the images of an episode: a lens that darkens its corners, and lamps."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from smwm_ros.arenas.ranges import stream
from smwm_ros.interfaces import Array

PATCHES = 3  # light and dark patches along a side of the image


class Illumination:
    """Multiplies images by a smooth field; with two zeros it changes nothing."""

    def __init__(self, vignette: float, uneven: float, looks: Sequence[int]) -> None:
        self._vignette, self._uneven, self._looks = vignette, uneven, looks
        self._fields: dict[int, Array] = {}  # of each size of images

    def apply(self, pixels: Array) -> Array:
        """Return pixels (S, S, 3) uint8 with the brightness of this episode."""
        if not (self._vignette or self._uneven):
            return pixels
        size = len(pixels)
        if size not in self._fields:
            self._fields[size] = self._field(size)
        lit: Array = np.clip(np.rint(pixels * self._fields[size]), 0, 255).astype(np.uint8)
        return lit

    def _field(self, size: int) -> Array:
        """Return the factors (S, S, 1) of all pixels."""
        line = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        to_corner = (line[:, None] ** 2 + line**2) / 2  # from 0 in the middle to 1
        patches = stream(self._looks, 'lamps').uniform(-1, 1, (PATCHES, PATCHES))
        lamps = cv2.resize(patches.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        field: Array = (1 - self._vignette * to_corner) * (1 + self._uneven * lamps)
        return field[..., None].astype(np.float32)

# SPDX-License-Identifier: Apache-2.0
"""Recent images of a camera, from which observations are made while a robot drives."""

from __future__ import annotations

from collections import deque

from smwm_ros.codec.image_stack import stacked
from smwm_ros.interfaces import Array


class ImageHistory:
    """Recent images of a camera, from which observations are made."""

    def __init__(self, count: int, dt: float) -> None:
        self._ages = [dt * back for back in range(count - 1, -1, -1)]  # of the images [s]
        self._images: deque[tuple[float, Array]] = deque()  # with their times, the newest last

    def add(self, pixels: Array, time: float) -> Array:
        """
        Add an image (..., S, S, 3) that was taken at a time [s]; return its observation.

        Each part of it is the image nearest to its time. After a gap, and before there are enough
        images, an image stands for older ones, too.
        """
        if self._images and time <= self._images[-1][0]:
            self._images.clear()  # time has jumped back
        self._images.append((time, pixels))
        while len(self._images) > 1 and self._images[1][0] <= time - self._ages[0]:
            self._images.popleft()
        wanted = (time - age for age in self._ages)
        return stacked(
            [min(self._images, key=lambda image: abs(image[0] - at))[1] for at in wanted]
        )

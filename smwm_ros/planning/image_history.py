# SPDX-License-Identifier: Apache-2.0
"""Recent images of a camera, from which observations are made while a robot drives."""

from __future__ import annotations

from collections import deque
import math

from smwm_ros import config
from smwm_ros.codec.image_stack import stacked
from smwm_ros.interfaces import Array


class ImageHistory:
    """Recent images of a camera, from which observations are made."""

    def __init__(self, count: int, dt: float, slack: float = math.inf) -> None:
        self._ages = [dt * back for back in range(count - 1, -1, -1)]  # of the images [s]
        self._half = dt / 2
        self._slack = slack  # by so much the first image may be late [s]; inf: it stands for all
        self._images: deque[tuple[float, Array]] = deque()  # with their times, the newest last

    def add(self, pixels: Array, time: float) -> Array:
        """
        Add an image (..., S, S, 3) that was taken at a time [s]; return its observation.

        Each part of it is the image nearest to its time. After a gap, and before there are enough
        images, an image stands for older ones, too; with `slack`, older ones are left out.
        """
        if self._images and time <= self._images[-1][0]:
            self._images.clear()  # time has jumped back
        self._images.append((time, pixels))
        while len(self._images) > 1 and self._images[1][0] <= time - self._ages[0]:
            self._images.popleft()
        found = list[Array]()
        for age in reversed(self._ages):
            taken, image = min(self._images, key=lambda one: abs(one[0] - (time - age)))
            if not self._is_known(time - age, taken):
                break
            found.append(image)
        return stacked(found[::-1])

    def _is_known(self, wanted: float, taken: float) -> bool:
        """Return whether an image shows what was there at a time [s]."""
        if self._slack == math.inf:
            return True
        began = wanted >= self._images[0][0] - self._slack
        return began and abs(taken - wanted) <= self._half


def history_of(model: config.Model, block: int, dt: float) -> ImageHistory:
    """
    Return a history of the images that a model reads; `block` is K, and dt that of a raw action.

    A forward model with a memory reads images a model step apart. It was trained with short
    memories as well, so images that do not exist are left out.
    """
    if model.context > 1:
        return ImageHistory(model.context, block * dt, slack=dt / 2)
    return ImageHistory(model.stack, dt)

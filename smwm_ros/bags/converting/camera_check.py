# SPDX-License-Identifier: Apache-2.0
"""
Find recordings from which little can be learnt, while they are converted.

Nothing moves, images are repeated, the frame rate varies, or the camera itself moves. Images are
compared in grey, at 64 pixels or less, where the noise of a sensor is small.
"""

from __future__ import annotations

from collections import Counter
from math import ceil

import cv2
import numpy as np
from smwm_ros.bags.reading.clock import nanoseconds
from smwm_ros.config import Dataset
from smwm_ros.interfaces import Array

_SIDE, _CELLS = 64, 4  # compared images [px], and cells along each side of them
_CHANGED = 12  # difference from which a pixel has changed [grey levels of 256]
_SAME = 4  # largest difference of a repeated image; a video codec changes some pixels
_STILL = 1e-4  # share of changed pixels below which nothing moves
_REPEATED = 0.2  # share of repeated images
_REGULAR = 0.8  # share of the intervals between new images that are alike, for a slow camera
_MOST = 12  # of the cells: most of the image
_SHIFT = 0.5  # smallest shift of an image [px]
_EXPLAINED = 0.5  # share of a change that a shift removes, if all of the image moves alike
_MOVES = 0.2  # share of the steps in which the camera moves
_UNEVEN = 2.0  # ratio of long to short times between frames: their 95th and 5th percentile
_MIN_TICKS = 20  # for any of this


class CameraCheck:
    """Compare the images of consecutive ticks, and the times between frames."""

    def __init__(self, dataset: Dataset, dt: float) -> None:
        self._dt, self._block = dt, dataset.action_block
        self._max_age = nanoseconds(dataset.max_frame_age)
        self._side = min(_SIDE, dataset.image_size // _CELLS * _CELLS)
        self._window = cv2.createHanningWindow((self._side, self._side), cv2.CV_32F)
        self._steps = np.zeros(0, np.int64)  # between frames [ns]
        self._episode, self._row = -1, 0  # row within the episode
        self._last = self._anchor = np.zeros(0, np.uint8)  # images: of the last tick, a block ago
        self._pairs = self._same = 0
        self._changed: list[float] = []  # share of pixels, from block to block
        # Whether the camera moved from one new image to the next, and from block to block: the
        # first detects fast motion, the second slow motion.
        self._moved = list[bool](), list[bool]()
        self._intervals: Counter[int] = Counter()  # ticks from one new image to the next
        self._since = 0  # ticks since the last new image, 0 where there was none

    def add_frames(self, stamps: Array) -> None:
        """Add the ascending stamps (n,) of the frames of the camera [ns]."""
        steps = np.diff(stamps)
        self._steps = np.append(self._steps, steps[steps <= self._max_age])

    def add_rows(self, pixels: Array, episodes: Array) -> None:
        """Add the images (n, H, W, 3) of the next ticks, and the episode of each."""
        for image, episode in zip(pixels, episodes.tolist(), strict=True):
            full = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            grey: Array = cv2.resize(full, (self._side,) * 2, interpolation=cv2.INTER_AREA)
            if episode != self._episode:
                self._episode, self._row, self._since = episode, 0, 0
                self._anchor = grey
            else:
                self._row += 1
                self._compare(grey)
            self._last = grey

    def notes(self) -> list[str]:
        """Return what limits the use of the recording."""
        return [
            note for note in (self._uneven(), self._still() or self._slow(), self._moves()) if note
        ]

    def _compare(self, grey: Array) -> None:
        """Compare an image with that of the tick before, and with that a block ago."""
        self._pairs += 1
        if self._row % self._block == 0:
            difference = cv2.absdiff(grey, self._anchor)
            self._changed.append(float((difference > _CHANGED).mean()))
            self._moved[1].append(_shifts(self._anchor, grey, difference, self._window))
            self._anchor = grey
        difference = cv2.absdiff(grey, self._last)
        if difference.max() <= _SAME:
            self._same += 1
            self._since += self._since > 0
            return
        if self._since:
            self._intervals[self._since] += 1
        self._since = 1
        self._moved[0].append(_shifts(self._last, grey, difference, self._window))

    def _uneven(self) -> str:
        """Return how much the frame rate varies, or ''."""
        if len(self._steps) < _MIN_TICKS:
            return ''
        short, usual, long = np.percentile(self._steps, (5, 50, 95)) / 1e9
        if long < _UNEVEN * short:
            return ''
        return (
            f'the frame rate varies: {1 / usual:.3g} Hz in the median, {1 / long:.3g} to '
            f'{1 / max(short, 1e-9):.3g} Hz in nine tenths of the frames. Each tick has the '
            'latest frame'
        )

    def _still(self) -> str:
        """Return that nothing moves, or ''."""
        if self._pairs < _MIN_TICKS or not self._changed or np.mean(self._changed) >= _STILL:
            return ''
        return (
            f'nothing moves: {np.mean(self._changed):.2%} of the pixels change within a model '
            f'step of {self._block * self._dt:.3g} s. Nothing can be learnt from this recording'
        )

    def _slow(self) -> str:
        """Return the rate of new images if ticks repeat them, or ''."""
        if self._pairs < _MIN_TICKS or self._same <= _REPEATED * self._pairs:
            return ''
        ticks = np.array(sorted(self._intervals.elements()))
        ticks = ticks[ticks <= 2 * np.median(ticks)] if len(ticks) else ticks  # without rests
        if len(ticks) < _MIN_TICKS // 2:
            return ''
        each, regular = ticks.mean(), (np.abs(ticks - np.median(ticks)) <= 1).mean()
        if 1 - 1 / each <= _REPEATED or regular < _REGULAR:  # it rests now and then
            return ''
        return (
            f'{self._same / self._pairs:.0%} of the ticks repeat the image before: the camera '
            f'has {1 / (each * self._dt):.3g} new images per second. Set '
            f'robot.dt={each * self._dt:.2g}, or dataset.action_block to {ceil(each)} or more'
        )

    def _moves(self) -> str:
        """Return that the camera moves, or ''."""
        share = max(float(np.mean(moved)) if moved else 0.0 for moved in self._moved)
        if self._pairs - self._same < _MIN_TICKS or share < _MOVES:
            return ''
        return (
            f'the camera moves: most of the image shifts as a whole in {share:.0%} of the steps. '
            'Models assume a camera that is fixed in the world or on the robot; latent actions '
            'then include the motion of the camera'
        )


def _shifts(before: Array, after: Array, difference: Array, window: Array) -> bool:
    """Return whether most of the image changes, and one shift explains most of the change."""
    cell = len(before) // _CELLS
    cells = (difference > _CHANGED).reshape(_CELLS, cell, _CELLS, cell).any((1, 3))
    if cells.sum() < _MOST:
        return False
    (dx, dy), _ = cv2.phaseCorrelate(before.astype(np.float32), after.astype(np.float32), window)
    if np.hypot(dx, dy) < _SHIFT:
        return False
    size = before.shape[::-1]
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = cv2.warpAffine(before, move, size, borderMode=cv2.BORDER_REPLICATE)
    return bool(cv2.absdiff(moved, after).mean() < (1 - _EXPLAINED) * difference.mean())

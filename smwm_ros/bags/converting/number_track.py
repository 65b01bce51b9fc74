# SPDX-License-Identifier: Apache-2.0
"""Collect commands, states and episode marks while a bag is read."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from smwm_ros.bags.converting.align import Track
from smwm_ros.bags.reading.steps import JUMP
from smwm_ros.bags.reading.trajectory import is_trajectory, sample_trajectory
from smwm_ros.codec.fields import FieldReader
from smwm_ros.interfaces import Array

_ALWAYS = -(2**62)  # a stamp before all others [ns]


class NumberTrack:
    """Collect the numbers of a topic."""

    def __init__(self, read: FieldReader, delay: int = 0, dt: int = 0) -> None:
        self.read = read
        self._delay = delay  # from a message to its effect [ns]
        self._dt = dt if is_trajectory(read) else 0  # sampling period of trajectories [ns]
        self._newest: int | None = None  # stamp of the last message
        self._rest = 0  # samples of the last trajectory after its start
        self._stamps = array('q')
        self._values: list[Array] = []
        self.empty = True  # no message was added
        self.missing_names = ''  # the error of the first message without the configured names

    def stamp_problem(self, stamp: int) -> str:
        """Return what is wrong with the stamp of the next message, or ''."""
        last, self._newest = self._newest, stamp
        if last is None or stamp > last:
            return ''
        return 'with a repeated stamp' if stamp == last else 'out of order'

    def add(self, stamp: int, msg: Any) -> None:
        """Add the next message; a trajectory replaces the rest of the previous one."""
        if not self._dt:
            self.append(stamp, self.read(msg))
            return
        values = sample_trajectory(msg, self.read, self._dt / 1e9)
        while self._rest and self._stamps[-1] >= stamp + self._delay:
            self._stamps.pop()
            self._values.pop()
            self._rest -= 1
        for number, value in enumerate(values):
            self.append(stamp + number * self._dt, value)
        self._rest = len(values) - 1

    def append(self, stamp: int, value: Array) -> None:
        """Add a vector."""
        self._stamps.append(stamp + self._delay)
        self._values.append(value)
        self.empty = False

    def track(self) -> Track:
        """Return the numbers sorted by stamp, up to a step back the camera has yet to reach."""
        count = self._count_before_step()
        stamps = np.array(self._stamps[:count], np.int64)
        order = np.argsort(stamps, kind='stable')
        values = np.array(self._values[:count], np.float64).reshape(count, self.read.size)
        return Track(stamps[order], values[order])

    def clear(self) -> None:
        """Remove the numbers that track() returned."""
        count = self._count_before_step()
        self._stamps, self._values = self._stamps[count:], self._values[count:]
        self._rest = min(self._rest, len(self._stamps))

    def _count_before_step(self) -> int:
        """Return the number of samples before the clock stepped back and stayed back."""
        stamps = np.array(self._stamps, np.int64)
        jumps = np.flatnonzero(np.diff(stamps) < -JUMP)
        if len(jumps):
            after = int(jumps[-1]) + 1
            if stamps[after:].max() < stamps[:after].max() - JUMP:  # not a single odd stamp
                return after
        return len(stamps)


class EpisodeMarks:
    """Number the episodes that a Bool or String topic marks; a repeated value is not a mark."""

    def __init__(self) -> None:
        self._value: bool | str = ''
        self._number = -1  # of the current episode, negative outside of episodes
        self._count = 0
        self._stamps, self._numbers = array('q'), array('q')

    def add(self, stamp: int | None, value: bool | str) -> None:
        """Add the next message; without a stamp it is before all others."""
        if value == self._value:
            return
        self._value = value
        self._number = self._count if value else -1
        self._count += bool(value)
        self._stamps.append(_ALWAYS if stamp is None else stamp)
        self._numbers.append(self._number)

    def track(self) -> Track:
        """Return the number of the episode from each mark on."""
        return Track(np.array(self._stamps, np.int64), np.array([self._numbers], np.float64).T)

    def clear(self) -> None:
        """Remove all marks, but keep the current episode."""
        self._stamps, self._numbers = array('q', [_ALWAYS]), array('q', [self._number])

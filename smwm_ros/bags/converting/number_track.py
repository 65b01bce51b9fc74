# SPDX-License-Identifier: Apache-2.0
"""What is heard beside frames while a bag is read: numbers, and marks of episodes."""

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
    """The numbers of a topic, as they come."""

    def __init__(self, read: FieldReader, delay: int = 0, dt: int = 0) -> None:
        self.read = read
        self._delay = delay  # from hearing a message to its effect [ns]
        self._dt = dt if is_trajectory(read) else 0  # trajectories are read once in it [ns]
        self._newest: int | None = None  # stamp of the last message
        self._rest = 0  # samples of the last trajectory that lie after its start
        self._stamps = array('q')
        self._values: list[Array] = []
        self.empty = True  # nothing was ever heard
        self.nameless = ''  # how the first message lacked what is asked for by name

    def flaw(self, stamp: int) -> str:
        """Say what is odd about the stamp of the next message, or nothing."""
        last, self._newest = self._newest, stamp
        if last is None or stamp > last:
            return ''
        return 'of a stamp seen before' if stamp == last else 'that come before the last one'

    def take(self, stamp: int, msg: Any) -> None:
        """Take the next message; a trajectory replaces what is left of the one before."""
        if not self._dt:
            self.hear(stamp, self.read(msg))
            return
        values = sample_trajectory(msg, self.read, self._dt / 1e9)
        while self._rest and self._stamps[-1] >= stamp + self._delay:
            self._stamps.pop()
            self._values.pop()
            self._rest -= 1
        for number, value in enumerate(values):
            self.hear(stamp + number * self._dt, value)
        self._rest = len(values) - 1

    def hear(self, stamp: int, value: Array) -> None:
        """Take the next vector."""
        self._stamps.append(stamp + self._delay)
        self._values.append(value)
        self.empty = False

    def track(self) -> Track:
        """Return what was heard by rising stamp, up to a jump that the camera has yet to make."""
        count = self._before_jump()
        stamps = np.array(self._stamps[:count], np.int64)
        order = np.argsort(stamps, kind='stable')
        values = np.array(self._values[:count], np.float64).reshape(count, self.read.size)
        return Track(stamps[order], values[order])

    def clear(self) -> None:
        """Forget what the track gave."""
        count = self._before_jump()
        self._stamps, self._values = self._stamps[count:], self._values[count:]
        self._rest = min(self._rest, len(self._stamps))

    def _before_jump(self) -> int:
        """Return how many came before the clock went back for good."""
        stamps = np.array(self._stamps, np.int64)
        jumps = np.flatnonzero(np.diff(stamps) < -JUMP)
        if len(jumps):
            after = int(jumps[-1]) + 1
            if stamps[after:].max() < stamps[:after].max() - JUMP:  # not a single odd stamp
                return after
        return len(stamps)


class EpisodeMarks:
    """Numbers the episodes that a Bool or String topic marks; saying the same again is no mark."""

    def __init__(self) -> None:
        self._said: bool | str = ''
        self._number = -1  # of the current episode, negative outside
        self._begun = 0
        self._stamps, self._numbers = array('q'), array('q')

    def hear(self, stamp: int | None, said: bool | str) -> None:
        """Take the next message; without a stamp it holds for all that follows."""
        if said == self._said:
            return
        self._said = said
        self._number = self._begun if said else -1
        self._begun += bool(said)
        self._stamps.append(_ALWAYS if stamp is None else stamp)
        self._numbers.append(self._number)

    def track(self) -> Track:
        """Return the number of the episode from each mark on."""
        return Track(np.array(self._stamps, np.int64), np.array([self._numbers], np.float64).T)

    def clear(self) -> None:
        """Forget all but where we are now."""
        self._stamps, self._numbers = array('q', [_ALWAYS]), array('q', [self._number])

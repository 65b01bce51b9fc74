# SPDX-License-Identifier: Apache-2.0
"""
Estimate how long after a command the robot moves.

The picture changes more while the robot is moved. Of all lags, that one is taken at which the
commands explain best how much it changes. Both halves of a recording must agree, else nothing is
said: a wrong delay is worse than none.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from smwm_ros.bags.reading.reader import BagReader, Message
from smwm_ros.codec.fields import FieldReader
from smwm_ros.codec.images import to_rgb
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import Array

_LAGS = np.arange(-0.1, 0.801, 0.02)  # that are tried [s]
_SURE = 0.5  # correlation of commands and changes
_BETTER = 0.05  # than half a second beside the best lag, or no lag stands out
_AGREE = 0.06  # halves of a recording [s]
_FRAMES, _LEAST = 1500, 100  # looked at, and needed
_SMALL = 32  # frames are compared at this size [px]


def estimate_delay(reader: BagReader, robot: dict[str, Any], base: str) -> float | None:
    """Return how late the picture answers the proposed commands [s], None if nobody can say."""
    frames, changes = _changes(reader, robot['camera']['topic'], base)
    read = FieldReader(robot['command']['fields'])
    stamps, values = _commands(reader, robot['command']['topic'], read, base)
    if len(changes) < _LEAST or len(stamps) < 2:
        return None
    command = robot['command']
    strength = how_strong(values, command['low'], command['high'], command['stop'])
    return best_lag(stamps, strength, frames[:-1], frames[1:], changes)


def how_strong(values: Array, low: Array, high: Array, stop: str) -> Array:
    """Return how much commands (m, F) in order move the robot (m,), whichever way."""
    values = values / np.maximum(np.subtract(high, low), 1e-9)
    if stop == 'hold':  # positions move the robot where they change
        values = np.diff(values, axis=0, prepend=values[:1])
    strength: Array = np.linalg.norm(values, axis=1)
    return strength


def best_lag(
    stamps: Array, strength: Array, begins: Array, ends: Array, changes: Array
) -> float | None:
    """
    Return the lag of changes between instants (n,) behind commands (m,), None if unsure.

    Stamps are in seconds, and rise.
    """
    middle = len(changes) // 2
    found = []
    for part in (slice(0, middle), slice(middle, None), slice(None)):
        scores = explained(stamps, strength, begins[part], ends[part], changes[part], _LAGS)
        best = int(np.argmax(scores))
        around = np.abs(_LAGS - _LAGS[best]) > 0.24
        if not scores[best] >= _SURE or scores[best] - scores[around].max() < _BETTER:
            return None
        if best in (0, len(_LAGS) - 1):
            return None
        found.append(float(_LAGS[best]))
    if np.ptp(found[:2]) > _AGREE:
        return None
    return round(max(found[2], 0.0), 2)


def explained(
    stamps: Array, strength: Array, begins: Array, ends: Array, changes: Array, lags: Array
) -> Array:
    """Return how well the strength of held commands explains changes at each lag: correlations."""
    total = np.concatenate([[0.0], np.cumsum(np.diff(stamps) * strength[:-1])])

    def correlation(lag: float) -> float:
        moved = np.interp(ends - lag, stamps, total) - np.interp(begins - lag, stamps, total)
        mean = moved / np.maximum(ends - begins, 1e-6)
        if len(mean) < 2 or np.ptp(mean) <= 0 or np.ptp(changes) <= 0:
            return 0.0
        return float(np.corrcoef(mean, changes)[0, 1])

    return np.array([correlation(lag) for lag in lags])


def _changes(reader: BagReader, topic: str, base: str) -> tuple[Array, Array]:
    """Return when frames were taken (n,) [s], and how much each differs from the last (n-1,)."""
    stamps, small = list[float](), list[Array]()
    for message in reader.messages([topic]):
        with suppress(CodecError):
            stamp = _seconds(reader, message, base)
            frame = cv2.resize(to_rgb(reader.decode(message)), (_SMALL, _SMALL), 0, 0, 0, 3)
            if not stamps or stamp > stamps[-1]:
                stamps.append(stamp)
                small.append(frame.astype(np.float32))
        if len(stamps) >= _FRAMES:
            break
    changes = [float(np.abs(after - before).mean()) for before, after in pairwise(small)]
    return np.array(stamps), np.array(changes)


def _commands(reader: BagReader, topic: str, read: FieldReader, base: str) -> tuple[Array, Array]:
    """Return when commands came (m,) [s], and what they said (m, F)."""
    found: dict[float, Array] = {}
    for message in reader.messages([topic]):
        with suppress(CodecError):
            found[_seconds(reader, message, base)] = read(reader.decode(message))
    stamps = np.array(sorted(found))
    return stamps, np.array([found[stamp] for stamp in stamps]).reshape(len(stamps), read.size)


def _seconds(reader: BagReader, message: Message, base: str) -> float:
    stamp = reader.header_stamp(message) if base == 'header' else message.stamp
    return (stamp - reader.start) / 1e9

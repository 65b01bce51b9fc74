# SPDX-License-Identifier: Apache-2.0
"""
Estimate the delay from a command to the motion of the robot.

The image changes more while the robot moves. The estimate is the lag with the highest correlation
between the strength of the commands and the change of the image. Both halves of a bag must give
the same lag, otherwise there is no estimate: a wrong delay is worse than none.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from smwm_ros.bags.reading.packets import decoded
from smwm_ros.bags.reading.reader import BagReader, Message
from smwm_ros.codec.fields import FieldReader
from smwm_ros.codec.images import to_rgb
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import Array

_LAGS = np.arange(-0.1, 0.801, 0.02)  # candidates [s]
_MIN_CORRELATION = 0.5  # of commands and image changes, at the best lag
_MIN_MARGIN = 0.05  # of the best correlation over those more than a quarter of a second away
_MAX_DIFFERENCE = 0.06  # of the lags in the two halves of a bag [s]
_MAX_FRAMES, _MIN_CHANGES = 1500, 100  # frames that are read, and changes that are needed
_SIDE = 32  # frames are compared at this size [px]


def estimate_delay(reader: BagReader, robot: dict[str, Any], base: str) -> float | None:
    """Return the delay from the proposed commands to image changes [s], None if unclear."""
    frames, changes = _image_changes(reader, robot['camera']['topic'], base)
    read = FieldReader(robot['command']['fields'])
    stamps, values = _commands(reader, robot['command']['topic'], read, base)
    if len(changes) < _MIN_CHANGES or len(stamps) < 2:
        return None
    command = robot['command']
    strength = command_strength(values, command['low'], command['high'], command['stop'])
    return best_lag(stamps, strength, frames[:-1], frames[1:], changes)


def command_strength(values: Array, low: Array, high: Array, stop: str) -> Array:
    """Return the norm (m,) of the motion that consecutive commands (m, F) ask for."""
    values = values / np.maximum(np.subtract(high, low), 1e-9)
    if stop == 'hold':  # positions: the robot moves where they change
        values = np.diff(values, axis=0, prepend=values[:1])
    strength: Array = np.linalg.norm(values, axis=1)
    return strength


def best_lag(
    stamps: Array, strength: Array, begins: Array, ends: Array, changes: Array
) -> float | None:
    """
    Return the lag [s] of changes (n,) behind commands (m,), None if it is not clear.

    Each change is from a begin to an end; these and the stamps are ascending [s].
    """
    middle = len(changes) // 2
    found = []
    for part in (slice(0, middle), slice(middle, None), slice(None)):
        scores = lag_correlations(stamps, strength, begins[part], ends[part], changes[part], _LAGS)
        best = int(np.argmax(scores))
        far = np.abs(_LAGS - _LAGS[best]) > 0.24
        if not scores[best] >= _MIN_CORRELATION or scores[best] - scores[far].max() < _MIN_MARGIN:
            return None
        if best in (0, len(_LAGS) - 1):
            return None
        found.append(float(_LAGS[best]))
    if np.ptp(found[:2]) > _MAX_DIFFERENCE:
        return None
    return round(max(found[2], 0.0), 2)


def lag_correlations(
    stamps: Array, strength: Array, begins: Array, ends: Array, changes: Array, lags: Array
) -> Array:
    """Return the correlation of changes with the strength of held commands at each lag."""
    total = np.concatenate([[0.0], np.cumsum(np.diff(stamps) * strength[:-1])])

    def correlation(lag: float) -> float:
        moved = np.interp(ends - lag, stamps, total) - np.interp(begins - lag, stamps, total)
        mean = moved / np.maximum(ends - begins, 1e-6)
        if len(mean) < 2 or np.ptp(mean) <= 0 or np.ptp(changes) <= 0:
            return 0.0
        return float(np.corrcoef(mean, changes)[0, 1])

    return np.array([correlation(lag) for lag in lags])


def _image_changes(reader: BagReader, topic: str, base: str) -> tuple[Array, Array]:
    """Return frame times (n,) [s], and the difference of each frame to the previous (n-1,)."""
    stamps, small = list[float](), list[Array]()
    for message in decoded(reader, [topic]):
        with suppress(CodecError):
            stamp = _seconds(reader, message, base)
            frame = cv2.resize(to_rgb(reader.decode(message)), (_SIDE, _SIDE), 0, 0, 0, 3)
            if not stamps or stamp > stamps[-1]:
                stamps.append(stamp)
                small.append(frame.astype(np.float32))
        if len(stamps) >= _MAX_FRAMES:
            break
    changes = [float(np.abs(after - before).mean()) for before, after in pairwise(small)]
    return np.array(stamps), np.array(changes)


def _commands(reader: BagReader, topic: str, read: FieldReader, base: str) -> tuple[Array, Array]:
    """Return the times (m,) [s] and values (m, F) of the commands."""
    found: dict[float, Array] = {}
    for message in reader.messages([topic]):
        with suppress(CodecError):
            found[_seconds(reader, message, base)] = read(reader.decode(message))
    stamps = np.array(sorted(found))
    return stamps, np.array([found[stamp] for stamp in stamps]).reshape(len(stamps), read.size)


def _seconds(reader: BagReader, message: Message, base: str) -> float:
    stamp = reader.header_stamp(message) if base == 'header' else message.stamp
    return (stamp - reader.start) / 1e9

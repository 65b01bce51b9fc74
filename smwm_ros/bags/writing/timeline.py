# SPDX-License-Identifier: Apache-2.0
"""
Compute when the messages of an episode are sampled, stamped and received, by the `record` knobs.

All times are of the recorder's clock [ns]. A sample is one measurement or one command. It becomes
no message if it is lost, and two if it is recorded twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.config import Record
from smwm_ros.interfaces import Array

EPOCH = 1_700_000_000 * 10**9  # start of simulated time, fixed so that a seed gives the same bytes
AFTER = 1_000_000  # delay of an overtaken or repeated message behind the other one [ns]
_STREAM = 77  # separates these random streams from others of the same seed


class TimelineMessage(NamedTuple):
    """A sample as it is recorded."""

    stamp: int  # in the header [ns]
    received: tuple[int, ...]  # receive time of each copy [ns]


class Samples(NamedTuple):
    """The samples of one topic in an episode (n,), in the order of sampling."""

    true: Array  # int64, true time of a measurement, or time at which a command acts [ns]
    stamp: Array  # int64, in the header [ns]
    received: Array  # int64 [ns]
    copies: Array  # recorded messages of each sample: 0 if it is lost

    def messages(self) -> list[TimelineMessage]:
        """Return the recorded message of each sample."""
        stamps, received, copies = (
            self.stamp.tolist(),
            self.received.tolist(),
            self.copies.tolist(),
        )
        return [
            TimelineMessage(stamp, tuple(first + AFTER * copy for copy in range(count)))
            for stamp, first, count in zip(stamps, received, copies, strict=True)
        ]

    def at_and_between(self, edges: Array) -> tuple[list[range], list[range]]:
        """Return the indices of samples at each edge, and of those between it and the next."""
        low = np.searchsorted(self.true, edges, 'left').tolist()
        high = np.searchsorted(self.true, edges, 'right').tolist()
        at = [range(*bounds) for bounds in zip(low, high, strict=True)]
        return at, [range(*bounds) for bounds in zip(high, low[1:], strict=False)]

    def about(self) -> dict[str, Any]:
        """Return the ground truth as plain data, samples by index."""
        return {
            'true': self.true.tolist(),
            'received': self.received.tolist(),
            'lost': np.flatnonzero(self.copies == 0).tolist(),
            'repeated': np.flatnonzero(self.copies == 2).tolist(),
            'overtaken': np.flatnonzero(np.diff(self.received) < 0).tolist(),
        }


class Timeline(NamedTuple):
    """All samples of an episode."""

    begin: int  # [ns]
    period: int  # of control [ns]
    camera: Samples
    state: Samples
    command: Samples
    pauses: tuple[tuple[int, int], ...]  # of the recorder: from, to [ns]
    early: int  # commands are received this long before they act [ns]

    def about(self) -> dict[str, Any]:
        """Return the ground truth as plain data."""
        topics = ('camera', 'state', 'command')
        samples = {name: getattr(self, name).about() for name in topics}
        return {'begin': self.begin, 'period': self.period, 'pauses': self.pauses, **samples}


def timeline(
    record: Record, length: int, period: int, begin: int, seed: Sequence[int]
) -> Timeline:
    """
    Return the timeline of an episode of `length` raw steps.

    Each topic has its own random stream, so the settings of one topic do not change another.
    """
    end = begin + length * period
    streams = [np.random.default_rng((*seed, _STREAM, number)) for number in range(4)]
    pauses = _pauses(record, begin, end, streams[0])

    def samples(true: Array, lag: float, loss: float, rng: np.random.Generator) -> Samples:
        """Return samples at these times, received with a lag [s], some lost or repeated."""
        received = true + _nanoseconds(lag)
        twice, lost, slow = rng.random((3, len(true)))
        copies = np.where(lost < loss, 0, np.where(twice < record.repeated, 2, 1))
        _overtake(received, slow < record.overtaken)
        for low, high in pauses:
            copies[(received >= low) & (received < high)] = 0
        return Samples(true, true, received, copies)

    frames = begin + _instants(record.camera_rate, length, period, end=True)
    frames = _jitter(frames, record.camera_jitter, begin, end, streams[1])
    camera = samples(frames, record.camera_latency, record.camera_loss, streams[1])
    states = begin + _instants(record.state_rate, length, period, end=True)
    commands = begin + _instants(record.command_rate, length, period, end=False)
    commands += _nanoseconds(record.command_phase)
    commands = _jitter(commands, record.command_jitter, begin, end - 1, streams[3])
    command = samples(commands, -record.command_latency, record.command_loss, streams[3])
    return Timeline(
        begin,
        period,
        camera._replace(stamp=_camera_stamp(record, camera)),
        samples(states, 0.0, 0.0, streams[2]),
        command._replace(stamp=_command_stamp(record, command)),
        pauses,
        _nanoseconds(record.command_latency),
    )


def _instants(rate: float, length: int, period: int, end: bool) -> Array:
    """Return evenly spaced times in an episode [ns]; with end, up to and including its end."""
    step = 1e9 / rate if rate else float(period)
    count = int(length * period / step + 1e-6) + 1
    instants: Array = np.rint(np.arange(count) * step).astype(np.int64)
    return instants if end else instants[instants < length * period]


def _jitter(
    instants: Array, most: float, first: int, last: int, rng: np.random.Generator
) -> Array:
    """Add uniform jitter to times, within the episode."""
    moved = instants + np.rint(rng.uniform(-most, most, len(instants)) * 1e9).astype(np.int64)
    jittered: Array = np.sort(np.clip(moved, first, last))
    return jittered


def _camera_stamp(record: Record, camera: Samples) -> Array:
    """Return the header stamps of the camera, by its own clock [ns]."""
    if record.camera_stamp == 'zero':
        return np.zeros_like(camera.true)
    time = camera.true if record.camera_stamp == 'taken' else camera.received
    drift = np.rint(record.camera_drift * (time - EPOCH)).astype(np.int64)
    stamp: Array = time + _nanoseconds(record.camera_offset) + drift
    return stamp


def _command_stamp(record: Record, command: Samples) -> Array:
    """Return the header stamps of commands [ns]."""
    if record.command_stamp == 'zero':
        return np.zeros_like(command.true)
    sent: Array = command.true - _nanoseconds(record.command_latency)
    return sent


def _overtake(received: Array, slow: Array) -> None:
    """Make some samples arrive just after the next one; of two in a row only the first."""
    slow[-1:] = False
    for index in np.flatnonzero(slow):
        if received[index] <= received[index + 1] and not slow[index - 1 : index].any():
            received[index] = received[index + 1] + AFTER
        else:
            slow[index] = False


def _pauses(
    record: Record, begin: int, end: int, rng: np.random.Generator
) -> tuple[tuple[int, int], ...]:
    """Draw the pauses of the recorder, by start time; they may overlap."""
    starts = np.sort(rng.integers(begin, end, record.pauses)).tolist()
    return tuple((start, start + _nanoseconds(record.pause)) for start in starts)


def _nanoseconds(seconds: float) -> int:
    """Convert seconds to whole nanoseconds."""
    return round(seconds * 1e9)

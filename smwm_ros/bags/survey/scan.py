# SPDX-License-Identifier: Apache-2.0
"""Read a bag message by message, for when each topic spoke and between what limits it moved."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from rosbags.interfaces import Nodetype
from smwm_ros.bags.reading.clock import Stamps
from smwm_ros.bags.reading.commands import is_command
from smwm_ros.bags.reading.reader import BagReader
from smwm_ros.bags.reading.trajectory import points_of
from smwm_ros.errors import CodecError
from smwm_ros.fieldpath import parse_path
from smwm_ros.interfaces import Array

_SCAN = 1 << 30  # as much of a bag is read [bytes]
_DECODED = 5000  # messages of a topic that are looked into, evenly spread
_DEEP = 4  # messages within messages that are searched for numbers
Limits = dict[str, tuple[float, float]]  # field -> smallest and largest


class Heard:
    """What was heard of one topic."""

    def __init__(self) -> None:
        self._receive, self._header = array('q'), array('q')
        self._limits: dict[tuple[str, ...], Limits] = {}  # by the fields that come together
        self._count: Counter[tuple[str, ...]] = Counter()
        self.has_zeros = False  # in some message all numbers are zero

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._receive)

    def note(self, receive: int, header: int | None) -> None:
        """Take the stamps of the next message [ns]."""
        self._receive.append(receive)
        if header is not None:
            self._header.append(header)

    def widen(self, numbers: Mapping[str, float]) -> None:
        """Widen the limits of each field by the numbers of a message."""
        names = tuple(sorted(numbers))
        self._count[names] += 1
        self.has_zeros |= bool(numbers) and not any(numbers.values())
        limits = self._limits.setdefault(names, {})
        for name, number in numbers.items():
            low, high = limits.get(name, (number, number))
            limits[name] = (min(low, number), max(high, number))

    def limits(self) -> Limits:
        """Return the limits of the fields that came together most often."""
        names = max(self._count, key=self._count.__getitem__, default=())
        return self._limits.get(names, {})

    def stamps(self) -> Stamps | None:
        """Return both stamps of every message, if all had both."""
        if not self._receive or len(self._header) != len(self._receive):
            return None
        return Stamps(np.array(self._header, np.int64), np.array(self._receive, np.int64))

    def times(self, base: str = 'receive') -> Array:
        """Return when each message came by one of the clocks (n,) int64 [ns]."""
        by_header = base == 'header' and len(self._header) == len(self._receive)
        return np.array(self._header if by_header else self._receive, np.int64)

    def steps(self, base: str = 'receive') -> Array:
        """Return the time from each message to the next by one of the clocks (n-1,) [s]."""
        steps: Array = np.diff(self.times(base)) / 1e9
        return steps

    def period(self, base: str = 'receive') -> float:
        """Return the usual time from one message to the next [s]."""
        steps = self.steps(base)
        return float(np.median(steps)) if len(steps) else 0.0


class Scan(NamedTuple):
    """What reading the messages one by one told."""

    share: float  # of the messages
    heard: dict[str, Heard]


def scan(reader: BagReader, fields: Mapping[str, Collection[str]]) -> Scan:
    """Read the messages of all topics; of some, fields are looked at, by the type of message."""
    names = [topic.name for topic in reader.topics.values() if topic.messages]
    heard = {name: Heard() for name in names}
    known = [name for name in names if not reader.undefined(name)]
    wanted = {
        name: () if name not in known else fields.get(reader.topics[name].type, ())
        for name in names
    }
    for name in known:
        if not wanted[name] and is_command(name):
            wanted[name] = number_fields(reader, reader.topics[name].type)
    every = {name: -(-reader.topics[name].messages // _DECODED) for name in names}
    with_header = {name for name in names if reader.has_header(name)}
    read = messages = 0
    for message in reader.messages(names):
        mine, header = heard[message.topic], None
        with suppress(CodecError):
            if message.topic in with_header:
                header = reader.header_stamp(message)
            if wanted[message.topic] and len(mine) % every[message.topic] == 0:
                msg = reader.decode(message)
                for part in [point for _, point in points_of(msg)] or [msg]:
                    mine.widen(_numbers(part, wanted[message.topic]))
        mine.note(message.stamp, header)
        messages += 1
        read += len(message.data)
        if read > _SCAN:
            break
    return Scan(messages / reader.count, heard)


def number_fields(reader: BagReader, kind: str) -> tuple[str, ...]:
    """Return the fields of a type of message that are real numbers, those within others too."""
    return tuple(_real(reader, kind, '', _DEEP))


def _real(reader: BagReader, kind: str, head: str, deep: int) -> list[str]:
    found: list[str] = []
    for name, (node, detail) in reader.fields(kind):
        if node == Nodetype.BASE and detail[0] in ('float32', 'float64'):
            found.append(f'{head}{name}')
        elif node == Nodetype.NAME and deep and detail != 'std_msgs/msg/Header':
            found += _real(reader, detail, f'{head}{name}.', deep - 1)
    return found


def _numbers(msg: Any, fields: Collection[str]) -> dict[str, float]:
    """Return the finite numbers of a message, each by its own field path."""
    found: dict[str, float] = {}
    for field in fields:
        numbers = _follow(msg, field)
        for index, number in enumerate(np.ravel(numbers).tolist()):
            if np.isfinite(number):
                name = f'{field}[{_which(msg, index)}]' if np.ndim(numbers) else field
                found[name] = number
    return found


_steps = cache(parse_path)


def _which(msg: Any, index: int) -> str:
    """Return what stands in the brackets for an element: its name where the message has names."""
    for field in ('name', 'joint_names'):
        names = getattr(msg, field, ())
        if index < len(names) and not set(names[index]) & set('[],='):
            return f'{field}={names[index]}'
    return str(index)


def _follow(msg: Any, field: str) -> Any:
    """Return a number of a message, or a whole array of them; an empty one has no elements."""
    for step in _steps(field):
        msg = getattr(msg, step.name)
        if isinstance(step.at, int):
            if step.at >= len(msg):
                return np.zeros(0)
            msg = msg[step.at]
    return msg

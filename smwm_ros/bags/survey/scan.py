# SPDX-License-Identifier: Apache-2.0
"""Read all messages of a bag once, and collect stamps and value ranges of each topic."""

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

_MAX_BYTES = 1 << 30  # the scan of a bag ends after this
_MAX_DECODED = 5000  # messages deserialised of a topic, evenly spread
_MAX_DEPTH = 4  # levels of nested messages that are searched for numbers
Limits = dict[str, tuple[float, float]]  # field -> smallest and largest


class TopicStats:
    """Stamps and value ranges of one topic."""

    def __init__(self) -> None:
        self._receive, self._header = array('q'), array('q')
        self._limits: dict[tuple[str, ...], Limits] = {}  # by the set of fields in a message
        self._count: Counter[tuple[str, ...]] = Counter()
        self.has_zeros = False  # all numbers are zero in some message

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._receive)

    def add_stamps(self, receive: int, header: int | None) -> None:
        """Add receive time and header stamp of a message [ns]."""
        self._receive.append(receive)
        if header is not None:
            self._header.append(header)

    def add_values(self, numbers: Mapping[str, float]) -> None:
        """Widen the limits of each field to include the values of a message."""
        names = tuple(sorted(numbers))
        self._count[names] += 1
        self.has_zeros |= bool(numbers) and not any(numbers.values())
        limits = self._limits.setdefault(names, {})
        for name, number in numbers.items():
            low, high = limits.get(name, (number, number))
            limits[name] = (min(low, number), max(high, number))

    def limits(self) -> Limits:
        """Return the limits of the most frequent set of fields."""
        names = max(self._count, key=self._count.__getitem__, default=())
        return self._limits.get(names, {})

    def stamps(self) -> Stamps | None:
        """Return receive times and header stamps, None if a message has no header stamp."""
        if not self._receive or len(self._header) != len(self._receive):
            return None
        return Stamps(np.array(self._header, np.int64), np.array(self._receive, np.int64))

    def times(self, base: str = 'receive') -> Array:
        """Return the time of each message by a clock (n,) int64 [ns]."""
        by_header = base == 'header' and len(self._header) == len(self._receive)
        return np.array(self._header if by_header else self._receive, np.int64)

    def steps(self, base: str = 'receive') -> Array:
        """Return the time from each message to the next by a clock (n-1,) [s]."""
        steps: Array = np.diff(self.times(base)) / 1e9
        return steps

    def period(self, base: str = 'receive') -> float:
        """Return the median time from one message to the next [s]."""
        steps = self.steps(base)
        return float(np.median(steps)) if len(steps) else 0.0


class Scan(NamedTuple):
    """The statistics of a bag."""

    share: float  # of the messages that were read
    topics: dict[str, TopicStats]


def scan(reader: BagReader, fields: Mapping[str, Collection[str]]) -> Scan:
    """Read the messages of all topics; fields: the fields to read of each message type."""
    names = [topic.name for topic in reader.topics.values() if topic.messages]
    topics = {name: TopicStats() for name in names}
    known = [name for name in names if not reader.undefined(name)]
    wanted = {
        name: () if name not in known else fields.get(reader.topics[name].type, ())
        for name in names
    }
    for name in known:
        if not wanted[name] and is_command(name):
            wanted[name] = number_fields(reader, reader.topics[name].type)
    every = {name: -(-reader.topics[name].messages // _MAX_DECODED) for name in names}
    with_header = {name for name in names if reader.has_header(name)}
    read = messages = 0
    for message in reader.messages(names):
        stats, header = topics[message.topic], None
        with suppress(CodecError):
            if message.topic in with_header:
                header = reader.header_stamp(message)
            if wanted[message.topic] and len(stats) % every[message.topic] == 0:
                msg = reader.decode(message)
                for part in [point for _, point in points_of(msg)] or [msg]:
                    stats.add_values(_numbers(part, wanted[message.topic]))
        stats.add_stamps(message.stamp, header)
        messages += 1
        read += len(message.data)
        if read > _MAX_BYTES:
            break
    return Scan(messages / reader.count, topics)


def number_fields(reader: BagReader, kind: str) -> tuple[str, ...]:
    """Return the floating-point fields of a message type, nested ones included."""
    return tuple(_float_fields(reader, kind, '', _MAX_DEPTH))


def _float_fields(reader: BagReader, kind: str, head: str, depth: int) -> list[str]:
    found: list[str] = []
    for name, (node, detail) in reader.fields(kind):
        if node == Nodetype.BASE and detail[0] in ('float32', 'float64'):
            found.append(f'{head}{name}')
        elif node == Nodetype.NAME and depth and detail != 'std_msgs/msg/Header':
            found += _float_fields(reader, detail, f'{head}{name}.', depth - 1)
    return found


def _numbers(msg: Any, fields: Collection[str]) -> dict[str, float]:
    """Return the finite numbers of a message by field path."""
    found: dict[str, float] = {}
    for field in fields:
        numbers = _field_value(msg, field)
        for index, number in enumerate(np.ravel(numbers).tolist()):
            if np.isfinite(number):
                name = f'{field}[{_element(msg, index)}]' if np.ndim(numbers) else field
                found[name] = number
    return found


_steps = cache(parse_path)


def _element(msg: Any, index: int) -> str:
    """Return the index of an array element as text: name=NAME if the message has names."""
    for field in ('name', 'joint_names'):
        names = getattr(msg, field, ())
        if index < len(names) and not set(names[index]) & set('[],='):
            return f'{field}={names[index]}'
    return str(index)


def _field_value(msg: Any, field: str) -> Any:
    """Return a number or an array of numbers of a message, empty if an index is out of range."""
    for step in _steps(field):
        msg = getattr(msg, step.name)
        if isinstance(step.at, int):
            if step.at >= len(msg):
                return np.zeros(0)
            msg = msg[step.at]
    return msg

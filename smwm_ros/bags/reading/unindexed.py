# SPDX-License-Identifier: Apache-2.0
"""Base class of readers without an index: scan the file once, then read it by blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from rosbags.interfaces import Connection
from smwm_ros.bags.reading.mcap_records import RawMessage
from smwm_ros.bags.reading.steps import in_order
from smwm_ros.errors import BagError

_MAX_NAMED = 3  # message types listed in an error
_Self = TypeVar('_Self', bound='BlockReader')


class Block(NamedTuple):
    """A chunk, or messages outside of chunks."""

    chunk: bool
    begin: int  # position in the file [bytes]
    end: int
    first: int  # earliest and latest receive time of its messages [ns]
    last: int


class BlockReader(ABC):
    """A file without an index, with the interface of a rosbags reader."""

    magic: bytes  # first bytes of the file
    kind: str  # name of the format, for errors

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.message_count = 0
        self.start_time, self.end_time = 2**63 - 1, 0
        self.lost_chunks = 0
        self.whole_bytes = 0  # position after the last data that could be used
        self._channels: dict[int, Connection] = {}
        self._counts: Counter[int] = Counter()  # messages, by channel
        self._blocks: list[Block] = []

    @abstractmethod
    def _scan_file(self, file: BinaryIO) -> None:
        """List blocks, channels and message counts of the file."""

    @abstractmethod
    def _messages_in(self, block: Block, data: memoryview) -> Iterable[RawMessage]:
        """Return the messages of a block."""

    def _is_supported(self, connection: Connection) -> bool:
        """Return whether messages of a connection can be read."""
        return True

    def __enter__(self: _Self) -> _Self:
        """Scan the file."""
        with self.path.open('rb') as file:
            if file.read(len(self.magic)) != self.magic:
                raise BagError(f'{self.path}: cannot be read: it is not a {self.kind}')
            self._scan_file(file)
        self.connections = [
            connection._replace(msgcount=self._counts[number])
            for number, connection in self._channels.items()
            if self._is_supported(connection)
        ]
        self.message_count = sum(connection.msgcount for connection in self.connections)
        if not self.message_count:
            raise BagError(f'{self.path}: cannot be read: it has no complete ROS message')
        self.start_time = min(block.first for block in self._blocks)
        self.end_time = max(block.last for block in self._blocks) + 1
        return self

    def foreign_format(self) -> str:
        """Return in which format the messages are, if none can be read, or ''."""
        if not self._channels or any(map(self._is_supported, self._channels.values())):
            return ''
        kinds = {item.ext.serialization_format for item in self._channels.values()}  # type: ignore[union-attr]
        names = sorted({item.msgtype for item in self._channels.values()})
        more = ', ...' if len(names) > _MAX_NAMED else ''
        listed = ', '.join(names[:_MAX_NAMED])
        return (
            f'its messages are {" and ".join(sorted(kinds))} ({listed}{more}), as Foxglove '
            'writes them, expected cdr (ROS 2); record the topics with ros2 bag'
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop the list of blocks; the file itself is open only while it is read."""
        self._blocks.clear()

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield messages in the order of the file, sorted by receive time within each block."""
        wanted = {connection.id: connection for connection in connections or self.connections}
        low, high = start or 0, stop or 2**63 - 1
        with self.path.open('rb') as file:
            for block in self._blocks:
                if block.last < low or block.first >= high:
                    continue
                file.seek(block.begin)
                data = memoryview(file.read(block.end - block.begin))
                for stamp, channel, body in _sorted(list(self._messages_in(block, data))):
                    if channel in wanted and low <= stamp < high:
                        yield wanted[channel], stamp, bytes(body)


def _sorted(messages: list[RawMessage]) -> Iterator[RawMessage]:
    """Yield the messages of a block by receive time, but not across a step back of the clock."""
    channels = np.array([item.channel for item in messages], np.int64)
    stamps = np.array([item.stamp for item in messages], np.int64)
    return (messages[index] for index in in_order(channels, stamps).tolist())

# SPDX-License-Identifier: Apache-2.0
"""What reading without an index has in common: look at all of a file once, then at its blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from rosbags.interfaces import Connection
from smwm_ros.bags.reading.mcap_records import Heard
from smwm_ros.bags.reading.steps import in_order
from smwm_ros.errors import BagError

_NAMED = 3  # types of messages
_Self = TypeVar('_Self', bound='BlockReader')


class Block(NamedTuple):
    """A chunk, or messages outside of chunks."""

    chunk: bool
    begin: int  # its place in the file
    end: int
    first: int  # stamps of its messages [ns]
    last: int


class BlockReader(ABC):
    """A file without an index; reads like a reader of rosbags."""

    magic: bytes  # the file begins with it
    kind: str  # what such a file is called

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.message_count = 0
        self.start_time, self.end_time = 2**63 - 1, 0
        self.lost_chunks = 0
        self.whole_bytes = 0  # as far as anything of the file was used
        self._channels: dict[int, Connection] = {}
        self._counts: Counter[int] = Counter()  # messages of a channel
        self._blocks: list[Block] = []

    @abstractmethod
    def _survey(self, file: BinaryIO) -> None:
        """Note where which messages are, and what they are."""

    @abstractmethod
    def _heard_in(self, block: Block, data: memoryview) -> Iterable[Heard]:
        """Return the messages of a block."""

    def _is_read(self, connection: Connection) -> bool:
        """Say whether anybody can read such messages."""
        return True

    def __enter__(self: _Self) -> _Self:
        """Open the file, and see what is in it."""
        with self.path.open('rb') as file:
            if file.read(len(self.magic)) != self.magic:
                raise BagError(
                    f'{self.path}: cannot be read: it does not begin like a {self.kind}'
                )
            self._survey(file)
        self.connections = [
            connection._replace(msgcount=self._counts[number])
            for number, connection in self._channels.items()
            if self._is_read(connection)
        ]
        self.message_count = sum(connection.msgcount for connection in self.connections)
        if not self.message_count:
            raise BagError(f'{self.path}: cannot be read: no whole ROS message is in it')
        self.start_time = min(block.first for block in self._blocks)
        self.end_time = max(block.last for block in self._blocks) + 1
        return self

    def foreign(self) -> str:
        """Say whose messages are there, where nobody here can read any, or nothing."""
        if not self._channels or any(map(self._is_read, self._channels.values())):
            return ''
        kinds = {item.ext.serialization_format for item in self._channels.values()}  # type: ignore[union-attr]
        names = sorted({item.msgtype for item in self._channels.values()})
        more = ', ...' if len(names) > _NAMED else ''
        return (
            f'its messages are {" and ".join(sorted(kinds))} ({", ".join(names[:_NAMED])}{more}), '
            'such as Foxglove writes, and not of ROS 2 (cdr); record the topics with ros2 bag'
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget where messages are; the file itself is open only while it is read."""
        self._blocks.clear()

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield messages as they lie in the file, sorted within each block."""
        wanted = {connection.id: connection for connection in connections or self.connections}
        low, high = start or 0, stop or 2**63 - 1
        with self.path.open('rb') as file:
            for block in self._blocks:
                if block.last < low or block.first >= high:
                    continue
                file.seek(block.begin)
                heard = self._heard_in(block, memoryview(file.read(block.end - block.begin)))
                for stamp, channel, body in _sorted(list(heard)):
                    if channel in wanted and low <= stamp < high:
                        yield wanted[channel], stamp, bytes(body)


def _sorted(heard: list[Heard]) -> Iterator[Heard]:
    """Yield the messages of a block by their stamps, but not across a step back of the clock."""
    channels = np.array([item.channel for item in heard], np.int64)
    stamps = np.array([item.stamp for item in heard], np.int64)
    return (heard[index] for index in in_order(channels, stamps).tolist())

# SPDX-License-Identifier: Apache-2.0
"""
Read a ROS 1 bag record by record, without its index: it is truncated or was never closed.

A record of format 2.0 is a header and a body, each after its length of 4 bytes. A header contains
fields, each after its length. Chunks contain records, too. If a bag was never closed, its last
chunk has no size yet: its records are read as if they were outside, unless it is compressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import unpack_from
from typing import BinaryIO

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinition,
    MessageDefinitionFormat,
)
from smwm_ros.bags.reading.mcap_records import RawMessage
from smwm_ros.bags.reading.typestore import normal_type
from smwm_ros.bags.reading.unindexed import Block, BlockReader
from smwm_ros.bags.reading.zstd import decompress_part
from smwm_ros.text import count_of

_MESSAGE, _CHUNK, _CONNECTION = 2, 5, 7
_MAX_HEADER = 1 << 20  # bytes; a larger one is no header


class UnindexedRos1Bag(BlockReader):
    """A ROS 1 bag without an index, with the interface of a rosbags reader."""

    magic, kind = b'#ROSBAG V2.0\n', 'bag'

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size

    def recovery_note(self) -> str:
        """Return how much could be read, as a sentence for the user."""
        lost = f'; lost {count_of(self.lost_chunks, "chunk")}' if self.lost_chunks else ''
        return (
            f'recovered {count_of(self.message_count, "complete message")} from '
            f'{self.whole_bytes / self._size:.1%} of its {self._size / 1e6:.1f} MB{lost}'
        )

    def _messages_in(self, block: Block, data: memoryview) -> Iterable[RawMessage]:
        """Return the messages of a block."""
        fields, body = _record(data)
        records = _inside(_unpacked(fields, body)) if block.chunk else [(fields, body)]
        return [_raw_message(*record) for record in records if _kind(record[0]) == _MESSAGE]

    def _scan_file(self, file: BinaryIO) -> None:
        """List blocks, connections and message counts of the file."""
        for begin, end, record in self._records(file):
            self._add_record(begin, end, record)

    def _records(self, file: BinaryIO) -> Iterator[tuple[int, int, memoryview]]:
        """Yield begin, end and bytes of each record; the last one may be truncated."""
        begin = len(self.magic)
        while begin + 8 <= self._size:
            file.seek(begin)
            length = int.from_bytes(file.read(4), 'little')
            if not 0 < length < _MAX_HEADER:
                return
            file.seek(begin + 4 + length)
            end = begin + 8 + length + int.from_bytes(file.read(4), 'little')
            file.seek(begin)
            yield begin, min(end, self._size), memoryview(file.read(end - begin))
            begin = end

    def _add_record(self, begin: int, end: int, record: memoryview) -> None:
        """Add the messages and connections of a record."""
        try:
            fields, body = _record(record)
            kind = _kind(fields)
            inside = list(_inside(_unpacked(fields, body))) if kind == _CHUNK else []
        except Exception:  # a decompressor may raise anything
            self.lost_chunks += 1
            return
        length = _length(record, 0)
        whole = len(record) == 8 + length + _length(record, 4 + length)
        if whole:
            self.whole_bytes = end
        if kind in (_CONNECTION, _MESSAGE) and whole:
            inside = [(fields, body)]
        messages = [_raw_message(*item) for item in inside if _kind(item[0]) == _MESSAGE]
        for header, about in inside:
            if _kind(header) == _CONNECTION:
                self._connect(header, about)
        self._counts.update(number for _, number, _ in messages)
        if messages:
            self.whole_bytes = max(self.whole_bytes, end)  # of a truncated chunk, too
            stamps = [stamp for stamp, _, _ in messages]
            self._blocks.append(Block(kind == _CHUNK, begin, end, min(stamps), max(stamps)))

    def _connect(self, fields: dict[str, bytes], body: memoryview) -> None:
        """Add a connection."""
        about = _fields(body)
        number = int.from_bytes(fields['conn'], 'little')
        text = MessageDefinition(
            MessageDefinitionFormat.MSG, about['message_definition'].decode(errors='replace')
        )
        self._channels[number] = Connection(
            number,
            fields['topic'].decode(),
            normal_type(about['type'].decode()),
            text,
            about['md5sum'].decode(),
            0,
            ConnectionExtRosbag1(None, None),
            self,
        )


def _length(view: memoryview, at: int) -> int:
    (length,) = unpack_from('<I', view, at)
    return int(length)


def _record(view: memoryview) -> tuple[dict[str, bytes], memoryview]:
    """Return the header fields and the body of a record, which may be truncated."""
    length = _length(view, 0)
    return _fields(view[4 : 4 + length]), view[8 + length : 8 + length + _length(view, 4 + length)]


def _fields(view: memoryview) -> dict[str, bytes]:
    """Return the fields of a header by name."""
    found, at = {}, 0
    while at < len(view):
        length = _length(view, at)
        name, _, value = bytes(view[at + 4 : at + 4 + length]).partition(b'=')
        found[name.decode()] = value
        at += 4 + length
    return found


def _kind(fields: dict[str, bytes]) -> int:
    return fields['op'][0]


def _inside(view: memoryview) -> Iterator[tuple[dict[str, bytes], memoryview]]:
    """Yield the complete records of a chunk."""
    at = 0
    while at + 8 <= len(view):
        length = _length(view, at)
        if at + 8 + length > len(view):
            return
        size = 8 + length + _length(view, at + 4 + length)
        if at + size > len(view):
            return
        yield _record(view[at : at + size])
        at += size


def _raw_message(fields: dict[str, bytes], body: memoryview) -> RawMessage:
    """Return the message of a record."""
    seconds, nanoseconds = unpack_from('<II', fields['time'])
    number = int.from_bytes(fields['conn'], 'little')
    return RawMessage(seconds * 1_000_000_000 + nanoseconds, number, body)


def _unpacked(fields: dict[str, bytes], body: memoryview) -> memoryview:
    """Return the decompressed content of a chunk, which may be truncated."""
    compression = fields['compression']
    if compression == b'none':
        return body
    return memoryview(decompress_part('bz2' if compression == b'bz2' else 'lz4', bytes(body)))

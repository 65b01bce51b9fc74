# SPDX-License-Identifier: Apache-2.0
"""
Read a mcap file record by record, without its index: one that was cut off, or never finished.

Every whole message before the cut is given, also from a chunk that is itself cut off; a chunk in
the middle that cannot be decompressed is passed over and counted. Record layouts are those of
the mcap specification: an opcode, a length of 8 bytes, and the record.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from struct import unpack, unpack_from
from typing import BinaryIO
from zlib import crc32

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from smwm_ros.bags.reading.mcap_records import (
    CHANNEL,
    CHUNK,
    DATA_END,
    Heard,
    inside,
    MAGIC,
    MESSAGE,
    messages_in,
    NOTHING,
    read_channel,
    read_schema,
    SCHEMA,
    unpacked,
    walk,
)
from smwm_ros.bags.reading.unindexed import Block, BlockReader
from smwm_ros.text import count_of

_BLOCK = 1 << 20  # messages outside of chunks are read together up to so many bytes
_FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}


class CutMcap(BlockReader):
    """A mcap file without an index; reads like a reader of rosbags."""

    magic, kind = MAGIC, 'mcap file'

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.doubtful_chunks = 0  # not what their checksum tells
        self._complete = False
        self._schemas: dict[int, tuple[str, MessageDefinition]] = {}

    def recovered(self) -> str:
        """Say how much could be read."""
        size = self.path.stat().st_size
        words = [f'recovered {count_of(self.message_count, "whole message")}']
        if not self._complete:
            words[0] += f' from {self.whole_bytes / size:.1%} of its {size / 1e6:.1f} MB'
        if self.lost_chunks:
            words.append(f'lost {count_of(self.lost_chunks, "chunk")}')
        if self.doubtful_chunks:
            words.append(f'{count_of(self.doubtful_chunks, "chunk")} with a wrong checksum')
        return '; '.join(words)

    def _is_read(self, connection: Connection) -> bool:
        """Say whether messages are of ROS 2."""
        return connection.ext.serialization_format == 'cdr'  # type: ignore[union-attr]

    def _heard_in(self, block: Block, data: memoryview) -> Iterable[Heard]:
        """Return the messages of a block."""
        return messages_in(inside(memoryview(unpacked(bytes(data))) if block.chunk else data))

    def _survey(self, file: BinaryIO) -> None:
        """Note where which messages are, and what they are."""
        end = file.seek(0, 2)
        for kind, at, size in walk(file, len(MAGIC), end):
            if kind == NOTHING:  # room that was never written
                return
            if at + size <= end:
                self.whole_bytes = at + size
            if kind == DATA_END:
                self._complete = True
                return
            if kind == CHUNK:
                self._note_chunk(file.read(min(size, end - at)), at, at + size <= end)
            elif kind in (SCHEMA, CHANNEL) and at + size <= end:
                self._note(kind, file.read(size))
            elif kind == MESSAGE and at + size <= end:
                channel, _, stamp = unpack('<HIQ', file.read(14))
                self._note_message(channel, stamp, at - 9, at + size)

    def _note_chunk(self, body: bytes, at: int, whole: bool) -> None:
        """Remember a chunk, unless it cannot be decompressed."""
        try:
            plain = unpacked(body)
            (checksum,) = unpack_from('<I', body, 24)
        except Exception:  # whatever a decompressor raises
            self.lost_chunks += 1
            return
        if whole and checksum and checksum != crc32(plain):
            self.doubtful_chunks += 1
        records = list(inside(memoryview(plain)))
        for kind, record in records:
            if kind in (SCHEMA, CHANNEL):
                self._note(kind, record)
        heard = list(messages_in(records))
        self._counts.update(channel for _, channel, _ in heard)
        if heard:
            self.whole_bytes = max(self.whole_bytes, at + len(body))  # of a cut chunk, too
            stamps = [stamp for stamp, _, _ in heard]
            self._blocks.append(Block(True, at, at + len(body), min(stamps), max(stamps)))

    def _note_message(self, channel: int, stamp: int, begin: int, end: int) -> None:
        """Remember a message outside of chunks, together with those before it."""
        self._counts[channel] += 1
        block = Block(False, begin, end, stamp, stamp)
        if self._blocks and not self._blocks[-1].chunk:
            last = self._blocks[-1]
            if last.end == begin and end - last.begin <= _BLOCK:
                self._blocks.pop()
                low, high = min(last.first, stamp), max(last.last, stamp)
                block = Block(False, last.begin, end, low, high)
        self._blocks.append(block)

    def _note(self, kind: int, body: bytes | memoryview) -> None:
        """Remember a schema or a channel."""
        if kind == SCHEMA:
            number, name, encoding, text = read_schema(body)
            form = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
            self._schemas[number] = (name, MessageDefinition(form, text))
            return
        number, schema, topic, encoding = read_channel(body)
        nothing = ('', MessageDefinition(MessageDefinitionFormat.NONE, ''))
        name, definition = self._schemas.get(schema, nothing)
        ext = ConnectionExtRosbag2(encoding, [])
        self._channels[number] = Connection(number, topic, name, definition, '', 0, ext, self)

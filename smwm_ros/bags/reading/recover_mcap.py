# SPDX-License-Identifier: Apache-2.0
"""
Read an mcap file record by record, without its index: it is truncated or was never closed.

Every complete message before the end is read, also from a truncated chunk. A chunk in the middle
that cannot be decompressed is skipped and counted. The layout of the records is that of the mcap
specification: an opcode, a length of 8 bytes, and the record.
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
    chunk_records,
    DATA_END,
    decompressed,
    file_records,
    MAGIC,
    MESSAGE,
    messages_in,
    RawMessage,
    read_channel,
    read_schema,
    SCHEMA,
    UNWRITTEN,
)
from smwm_ros.bags.reading.unindexed import Block, BlockReader
from smwm_ros.text import count_of

_BLOCK = 1 << 20  # bytes of messages outside of chunks that are read together
_FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}


class UnindexedMcap(BlockReader):
    """An mcap file without an index, with the interface of a rosbags reader."""

    magic, kind = MAGIC, 'mcap file'

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.checksum_errors = 0  # chunks
        self._complete = False
        self._schemas: dict[int, tuple[str, MessageDefinition]] = {}

    def recovery_note(self) -> str:
        """Return how much could be read, as a sentence for the user."""
        size = self.path.stat().st_size
        words = [f'recovered {count_of(self.message_count, "complete message")}']
        if not self._complete:
            words[0] += f' from {self.whole_bytes / size:.1%} of its {size / 1e6:.1f} MB'
        if self.lost_chunks:
            words.append(f'lost {count_of(self.lost_chunks, "chunk")}')
        if self.checksum_errors:
            words.append(f'{count_of(self.checksum_errors, "chunk")} with a wrong checksum')
        return '; '.join(words)

    def _is_supported(self, connection: Connection) -> bool:
        """Return whether messages are serialised as in ROS 2."""
        return connection.ext.serialization_format == 'cdr'  # type: ignore[union-attr]

    def _messages_in(self, block: Block, data: memoryview) -> Iterable[RawMessage]:
        """Return the messages of a block."""
        return messages_in(
            chunk_records(memoryview(decompressed(bytes(data))) if block.chunk else data)
        )

    def _scan_file(self, file: BinaryIO) -> None:
        """List blocks, channels and message counts of the file."""
        end = file.seek(0, 2)
        for kind, at, size in file_records(file, len(MAGIC), end):
            if kind == UNWRITTEN:  # allocated space that was never written
                return
            if at + size <= end:
                self.whole_bytes = at + size
            if kind == DATA_END:
                self._complete = True
                return
            if kind == CHUNK:
                self._add_chunk(file.read(min(size, end - at)), at, at + size <= end)
            elif kind in (SCHEMA, CHANNEL) and at + size <= end:
                self._add_definition(kind, file.read(size))
            elif kind == MESSAGE and at + size <= end:
                channel, _, stamp = unpack('<HIQ', file.read(14))
                self._add_message(channel, stamp, at - 9, at + size)

    def _add_chunk(self, body: bytes, at: int, whole: bool) -> None:
        """Add a chunk, or count it as lost if it cannot be decompressed."""
        try:
            plain = decompressed(body)
            (checksum,) = unpack_from('<I', body, 24)
        except Exception:  # a decompressor may raise anything
            self.lost_chunks += 1
            return
        if whole and checksum and checksum != crc32(plain):
            self.checksum_errors += 1
        records = list(chunk_records(memoryview(plain)))
        for kind, record in records:
            if kind in (SCHEMA, CHANNEL):
                self._add_definition(kind, record)
        messages = list(messages_in(records))
        self._counts.update(channel for _, channel, _ in messages)
        if messages:
            self.whole_bytes = max(self.whole_bytes, at + len(body))  # of a truncated chunk, too
            stamps = [stamp for stamp, _, _ in messages]
            self._blocks.append(Block(True, at, at + len(body), min(stamps), max(stamps)))

    def _add_message(self, channel: int, stamp: int, begin: int, end: int) -> None:
        """Add a message outside of chunks, to the last block if it follows directly."""
        self._counts[channel] += 1
        block = Block(False, begin, end, stamp, stamp)
        if self._blocks and not self._blocks[-1].chunk:
            last = self._blocks[-1]
            if last.end == begin and end - last.begin <= _BLOCK:
                self._blocks.pop()
                low, high = min(last.first, stamp), max(last.last, stamp)
                block = Block(False, last.begin, end, low, high)
        self._blocks.append(block)

    def _add_definition(self, kind: int, body: bytes | memoryview) -> None:
        """Add a schema or a channel."""
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

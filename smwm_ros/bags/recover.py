# SPDX-License-Identifier: Apache-2.0
"""
Read a mcap file record by record, without its index: one that was cut off, or never finished.

Every whole message before the cut is given, also from a chunk that is itself cut off; a chunk in
the middle that cannot be decompressed is passed over and counted. Record layouts are those of
the mcap specification: an opcode, a length of 8 bytes, and the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from struct import error as StructError  # noqa: N812
from struct import unpack, unpack_from
from types import TracebackType
from typing import BinaryIO, NamedTuple
from zlib import crc32

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from smwm_ros.bags.packed import zstd
from smwm_ros.errors import BagError

_MAGIC = b'\x89MCAP0\r\n'
_NOTHING, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0, 3, 4, 5, 6, 15
_FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}


class Record(NamedTuple):
    """One record of a mcap file."""

    kind: int
    body: bytes | memoryview
    whole: bool  # false where the file ends within it


class CutMcap:
    """A mcap file without an index; reads like a reader of rosbags."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.message_count = 0
        self.start_time, self.end_time = 2**63 - 1, 0
        self.lost_chunks = 0
        self.doubtful_chunks = 0  # not what their checksum tells
        self.whole_bytes = 0  # as far as the last whole record of the file
        self._complete = False

    def __enter__(self) -> CutMcap:
        """Open the file, and see what is in it."""
        with self.path.open('rb') as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise BagError(f'{self.path}: cannot be read: it does not begin like a mcap file')
        counts: Counter[int] = Counter()
        schemas: dict[int, tuple[str, MessageDefinition]] = {}
        channels: dict[int, Connection] = {}
        for record in self._records(0, 2**63 - 1):
            if record.kind == _SCHEMA:
                number, name, encoding, text = _schema(record.body)
                form = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
                schemas[number] = (name, MessageDefinition(form, text))
            elif record.kind == _CHANNEL:
                number, schema, topic, encoding = _channel(record.body)
                name, definition = schemas.get(
                    schema, ('', MessageDefinition(MessageDefinitionFormat.NONE, ''))
                )
                ext = ConnectionExtRosbag2(encoding, [])
                channels[number] = Connection(number, topic, name, definition, '', 0, ext, self)
            else:
                channel, stamp = _stamp(record.body)
                counts[channel] += 1
                self.start_time = min(self.start_time, stamp)
                self.end_time = max(self.end_time, stamp + 1)
        self.connections = [
            connection._replace(msgcount=counts[number])
            for number, connection in channels.items()
            if connection.ext.serialization_format == 'cdr'  # type: ignore[union-attr]
        ]
        self.message_count = sum(connection.msgcount for connection in self.connections)
        if not self.message_count:
            raise BagError(f'{self.path}: cannot be read: no whole ROS 2 message is in it')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: the file is open only while it is read."""

    def recovered(self) -> str:
        """Say how much could be read."""
        size = self.path.stat().st_size
        words = [f'{self.message_count} whole messages were recovered']
        if not self._complete:
            words[0] += f' from {self.whole_bytes / size:.1%} of its {size / 1e6:.1f} MB'
        if self.lost_chunks:
            words.append(f'{self.lost_chunks} chunks are lost')
        if self.doubtful_chunks:
            words.append(f'{self.doubtful_chunks} chunks differ from their checksum')
        return '; '.join(words)

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield messages as they lie in the file."""
        wanted = {connection.id: connection for connection in connections or self.connections}
        low, high = start or 0, stop or 2**63 - 1
        for record in self._records(low, high):
            if record.kind == _MESSAGE:
                channel, stamp = _stamp(record.body)
                if channel in wanted and low <= stamp < high:
                    yield wanted[channel], stamp, bytes(record.body[22:])

    def _records(self, start: int, stop: int) -> Iterator[Record]:
        """Yield the whole schemas, channels and messages; chunks outside the times are skipped."""
        self.lost_chunks = self.doubtful_chunks = 0
        with self.path.open('rb') as file:
            for record in _walk(file, len(_MAGIC), start, stop):
                if record.kind == _NOTHING:  # room that was never written
                    return
                if record.whole:
                    self.whole_bytes = file.tell()
                if record.kind == _DATA_END:
                    self._complete = True
                    return
                if record.kind == _CHUNK:
                    yield from self._inner(record)
                elif record.whole and record.kind in (_SCHEMA, _CHANNEL, _MESSAGE):
                    yield record

    def _inner(self, chunk: Record) -> list[Record]:
        """Return the whole records of a chunk, messages in the order of time."""
        try:
            checksum, length = unpack_from('<II', chunk.body, 24)
            compression = bytes(chunk.body[32 : 32 + length]).decode()
            plain = _decompress(compression, memoryview(chunk.body)[32 + length + 8 :])
        except (StructError, ValueError, RuntimeError, zstd.ZstdError):
            self.lost_chunks += 1
            return []
        if checksum and chunk.whole and checksum != crc32(plain):
            self.doubtful_chunks += 1
        records = [record for record in _inside(memoryview(plain)) if record.whole]
        messages = [record for record in records if record.kind == _MESSAGE]
        others = [record for record in records if record.kind in (_SCHEMA, _CHANNEL)]
        return others + sorted(messages, key=lambda record: _stamp(record.body)[1])


def _walk(file: BinaryIO, at: int, start: int, stop: int) -> Iterator[Record]:
    """Yield record after record of a file, without the chunks that are outside the times."""
    end = file.seek(0, 2)
    while at + 9 <= end:
        file.seek(at)
        kind, size = unpack('<BQ', file.read(9))
        there = min(size, end - at - 9)
        if kind == _CHUNK and there >= 16:
            first, last = unpack('<QQ', file.read(16))
            file.seek(at + 9)
            if last < start or first >= stop:
                at += 9 + size
                continue
        yield Record(kind, file.read(there), there == size)
        at += 9 + size


def _inside(view: memoryview) -> Iterator[Record]:
    """Yield record after record of a chunk."""
    at = 0
    while at + 9 <= len(view):
        kind, size = unpack_from('<BQ', view, at)
        body = view[at + 9 : at + 9 + size]
        yield Record(kind, body, len(body) == size)
        at += 9 + size


def _decompress(compression: str, packed: memoryview) -> bytes | memoryview:
    """Decompress as much as is there."""
    if compression == 'zstd':
        plain: bytes = zstd.ZstdDecompressor().decompress(packed)
        return plain
    if compression == 'lz4':
        plain = LZ4FrameDecompressor().decompress(packed)
        return plain
    return packed


def _stamp(body: bytes | memoryview) -> tuple[int, int]:
    """Return the channel of a message and when it was received [ns]."""
    channel, _, stamp = unpack_from('<HIQ', body)
    return channel, stamp


def _schema(body: bytes | memoryview) -> tuple[int, str, str, str]:
    """Return number, name, encoding and text of a schema."""
    (number,) = unpack_from('<H', body)
    name, encoding, text = _texts(body, 2, 3)
    return number, name, encoding, text


def _channel(body: bytes | memoryview) -> tuple[int, int, str, str]:
    """Return number, schema, topic and encoding of a channel."""
    number, schema = unpack_from('<HH', body)
    topic, encoding = _texts(body, 4, 2)
    return number, schema, topic, encoding


def _texts(body: bytes | memoryview, at: int, count: int) -> list[str]:
    """Return texts that follow each other, each after its length."""
    texts = []
    for _ in range(count):
        (length,) = unpack_from('<I', body, at)
        texts.append(bytes(body[at + 4 : at + 4 + length]).decode())
        at += 4 + length
    return texts

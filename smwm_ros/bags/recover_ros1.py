# SPDX-License-Identifier: Apache-2.0
"""
Read a bag of ROS 1 record by record, without its index: one that was cut off, or never closed.

A record of the format 2.0 is a header and a body, each after its length of 4 bytes; a header holds
fields, each after its length. Chunks hold records, too; the last one of a bag that was never
closed has no size yet, so what is in it lies open, unless it is compressed.
"""

from __future__ import annotations

from bz2 import BZ2Decompressor
from collections import Counter
from collections.abc import Collection, Iterator
from operator import attrgetter
from pathlib import Path
from struct import error as StructError  # noqa: N812
from struct import unpack_from
from types import TracebackType
from typing import NamedTuple

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinition,
    MessageDefinitionFormat,
)
from smwm_ros.bags.mcap_records import Heard
from smwm_ros.bags.typestore import normal_type
from smwm_ros.errors import BagError

_MAGIC = b'#ROSBAG V2.0\n'
_MESSAGE, _CHUNK, _CONNECTION = 2, 5, 7
_LARGEST = 1 << 20  # bytes of a header; a larger one is none


class Block(NamedTuple):
    """A chunk, or a message outside of chunks."""

    chunk: bool
    begin: int  # its record in the file
    end: int
    first: int  # stamps of its messages [ns]
    last: int


class CutBag:
    """A bag of ROS 1 without an index; reads like a reader of rosbags."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.message_count = 0
        self.start_time, self.end_time = 2**63 - 1, 0
        self.lost_chunks = 0
        self._size = path.stat().st_size
        self._whole = 0  # bytes, as far as the last whole record
        self._counts: Counter[int] = Counter()
        self._found: dict[int, Connection] = {}
        self._blocks: list[Block] = []

    def __enter__(self) -> CutBag:
        """Open the file, and see what is in it."""
        with self.path.open('rb') as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise BagError(f'{self.path}: cannot be read: it does not begin like a bag')
        for begin, end, record in self._records():
            self._note(begin, end, record)
        self.connections = [
            connection._replace(msgcount=self._counts[number])
            for number, connection in self._found.items()
        ]
        self.message_count = sum(self._counts[number] for number in self._found)
        if not self.message_count:
            raise BagError(f'{self.path}: cannot be read: no whole message is in it')
        self.start_time = min(block.first for block in self._blocks)
        self.end_time = max(block.last for block in self._blocks) + 1
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
        lost = f'; {self.lost_chunks} chunks are lost' if self.lost_chunks else ''
        return (
            f'{self.message_count} whole messages were recovered from '
            f'{self._whole / self._size:.1%} of its {self._size / 1e6:.1f} MB{lost}'
        )

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield messages as they lie in the file, sorted within each chunk."""
        wanted = {connection.id: connection for connection in connections or self.connections}
        low, high = start or 0, stop or 2**63 - 1
        with self.path.open('rb') as file:
            for block in self._blocks:
                if block.last < low or block.first >= high:
                    continue
                file.seek(block.begin)
                data = memoryview(file.read(block.end - block.begin))
                fields, body = _record(data)
                inside = _inside(_unpacked(fields, body)) if block.chunk else [(fields, body)]
                heard = [_heard(*record) for record in inside if _kind(record[0]) == _MESSAGE]
                for stamp, number, message in sorted(heard, key=attrgetter('stamp')):
                    if number in wanted and low <= stamp < high:
                        yield wanted[number], stamp, bytes(message)

    def _records(self) -> Iterator[tuple[int, int, memoryview]]:
        """Yield where each record of the file begins and ends, and as much as there is of it."""
        begin = len(_MAGIC)
        with self.path.open('rb') as file:
            while begin + 8 <= self._size:
                file.seek(begin)
                length = int.from_bytes(file.read(4), 'little')
                if not 0 < length < _LARGEST:
                    return
                file.seek(begin + 4 + length)
                end = begin + 8 + length + int.from_bytes(file.read(4), 'little')
                file.seek(begin)
                yield begin, min(end, self._size), memoryview(file.read(end - begin))
                begin = end

    def _note(self, begin: int, end: int, record: memoryview) -> None:
        """Remember what a record of the file holds."""
        try:
            fields, body = _record(record)
            kind = _kind(fields)
            inside = list(_inside(_unpacked(fields, body))) if kind == _CHUNK else []
        except (StructError, ValueError, LookupError, RuntimeError, OSError, EOFError):
            self.lost_chunks += 1
            return
        length = _length(record, 0)
        whole = len(record) == 8 + length + _length(record, 4 + length)
        if whole:
            self._whole = end
        if kind in (_CONNECTION, _MESSAGE) and whole:
            inside = [(fields, body)]
        heard = [_heard(*item) for item in inside if _kind(item[0]) == _MESSAGE]
        for header, about in inside:
            if _kind(header) == _CONNECTION:
                self._connect(header, about)
        self._counts.update(number for _, number, _ in heard)
        if heard:
            stamps = [stamp for stamp, _, _ in heard]
            self._blocks.append(Block(kind == _CHUNK, begin, end, min(stamps), max(stamps)))

    def _connect(self, fields: dict[str, bytes], body: memoryview) -> None:
        """Remember a topic."""
        about = _fields(body)
        number = int.from_bytes(fields['conn'], 'little')
        text = MessageDefinition(
            MessageDefinitionFormat.MSG, about['message_definition'].decode(errors='replace')
        )
        self._found[number] = Connection(
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
    """Return the fields and the body of a record, as far as it is there."""
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
    """Yield the whole records of a chunk."""
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


def _heard(fields: dict[str, bytes], body: memoryview) -> Heard:
    """Return a message."""
    seconds, nanoseconds = unpack_from('<II', fields['time'])
    number = int.from_bytes(fields['conn'], 'little')
    return Heard(seconds * 1_000_000_000 + nanoseconds, number, body)


def _unpacked(fields: dict[str, bytes], body: memoryview) -> memoryview:
    """Return what is in a chunk, as far as it is there."""
    compression = fields['compression']
    if compression == b'none':
        return body
    unpack = BZ2Decompressor() if compression == b'bz2' else LZ4FrameDecompressor()
    return memoryview(unpack.decompress(bytes(body)))

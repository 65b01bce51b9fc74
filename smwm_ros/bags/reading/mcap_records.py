# SPDX-License-Identifier: Apache-2.0
"""
Parse the records of an mcap file: each is an opcode, a length of 8 bytes, and a body.

Chunks contain records, too. A truncated chunk is decompressed as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import unpack, unpack_from
from typing import BinaryIO, NamedTuple

from smwm_ros.bags.reading.zstd import decompress_part

MAGIC = b'\x89MCAP0\r\n'
UNWRITTEN, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0, 3, 4, 5, 6, 15


class RawMessage(NamedTuple):
    """One message of a file, not yet deserialised."""

    stamp: int  # receive time [ns]
    channel: int
    data: memoryview


def file_records(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, position and size of each record's body, with the file positioned there."""
    while at + 9 <= end:
        file.seek(at)
        kind, size = unpack('<BQ', file.read(9))
        at += 9
        yield kind, at, size
        at += size


def chunk_records(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield opcode and body of each complete record of a decompressed chunk."""
    at = 0
    while at + 9 <= len(view):
        kind, size = unpack_from('<BQ', view, at)
        body = view[at + 9 : at + 9 + size]
        if len(body) == size:
            yield kind, body
        at += 9 + size


def messages_in(records: Iterable[tuple[int, memoryview]]) -> Iterator[RawMessage]:
    """Yield the messages among these records."""
    for kind, body in records:
        if kind == MESSAGE:
            channel, _, stamp = unpack_from('<HIQ', body)
            yield RawMessage(stamp, channel, body[22:])


def decompressed(body: bytes) -> bytes | memoryview:
    """Return the decompressed content of a chunk, which may be truncated."""
    (length,) = unpack_from('<I', body, 28)
    compression = bytes(body[32 : 32 + length]).decode()
    packed = memoryview(body)[32 + length + 8 :]
    return decompress_part(compression, packed) if compression in ('zstd', 'lz4') else packed


def read_schema(body: bytes | memoryview) -> tuple[int, str, str, str]:
    """Return id, name, encoding and text of a schema."""
    (number,) = unpack_from('<H', body)
    name, encoding, text = _texts(body, 2, 3)
    return number, name, encoding, text


def read_channel(body: bytes | memoryview) -> tuple[int, int, str, str]:
    """Return id, schema id, topic and message encoding of a channel."""
    number, schema = unpack_from('<HH', body)
    topic, encoding = _texts(body, 4, 2)
    return number, schema, topic, encoding


def _texts(body: bytes | memoryview, at: int, count: int) -> list[str]:
    """Return consecutive strings, each stored after its length."""
    texts = []
    for _ in range(count):
        (length,) = unpack_from('<I', body, at)
        texts.append(bytes(body[at + 4 : at + 4 + length]).decode())
        at += 4 + length
    return texts

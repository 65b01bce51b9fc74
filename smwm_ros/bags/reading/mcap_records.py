# SPDX-License-Identifier: Apache-2.0
"""
The records of a mcap file: each is an opcode, a length of 8 bytes, and a body.

Chunks hold records, too; of one that is cut off, as much is unpacked as is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import unpack, unpack_from
from typing import BinaryIO, NamedTuple

from smwm_ros.bags.reading.zstd import unpack_part

MAGIC = b'\x89MCAP0\r\n'
NOTHING, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0, 3, 4, 5, 6, 15


class Heard(NamedTuple):
    """One message."""

    stamp: int  # when it was received [ns]
    channel: int
    data: memoryview


def walk(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the kind, place and size of each record of a file, which stands at its begin then."""
    while at + 9 <= end:
        file.seek(at)
        kind, size = unpack('<BQ', file.read(9))
        at += 9
        yield kind, at, size
        at += size


def inside(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the kind and the body of each whole record of a chunk."""
    at = 0
    while at + 9 <= len(view):
        kind, size = unpack_from('<BQ', view, at)
        body = view[at + 9 : at + 9 + size]
        if len(body) == size:
            yield kind, body
        at += 9 + size


def messages_in(records: Iterable[tuple[int, memoryview]]) -> Iterator[Heard]:
    """Yield the messages among some records."""
    for kind, body in records:
        if kind == MESSAGE:
            channel, _, stamp = unpack_from('<HIQ', body)
            yield Heard(stamp, channel, body[22:])


def unpacked(body: bytes) -> bytes | memoryview:
    """Return what is in a chunk, as far as it is there."""
    (length,) = unpack_from('<I', body, 28)
    compression = bytes(body[32 : 32 + length]).decode()
    packed = memoryview(body)[32 + length + 8 :]
    return unpack_part(compression, packed) if compression in ('zstd', 'lz4') else packed


def read_schema(body: bytes | memoryview) -> tuple[int, str, str, str]:
    """Return number, name, encoding and text of a schema."""
    (number,) = unpack_from('<H', body)
    name, encoding, text = _texts(body, 2, 3)
    return number, name, encoding, text


def read_channel(body: bytes | memoryview) -> tuple[int, int, str, str]:
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

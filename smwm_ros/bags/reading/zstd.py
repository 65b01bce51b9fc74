# SPDX-License-Identifier: Apache-2.0
"""
What is compressed in bags, unpacked up to a size: some kilobytes may unpack to any number.

rosbags unpacks whatever is there, so it is made to unpack by these functions, too.
"""

from __future__ import annotations

from bz2 import BZ2Decompressor
import sys
from typing import Any, BinaryIO

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.rosbag1 import reader as reader1
from rosbags.rosbag2 import reader as reader2
from rosbags.rosbag2 import storage_mcap

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ['MOST', 'require_room', 'unpack_all', 'unpack_part', 'zstd']

Bytes = bytes | memoryview
MOST = 1 << 28  # bytes of a chunk or a message; a raw image of 8K video has 100 MB
_KINDS: dict[str, Any] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': LZ4FrameDecompressor,
    'bz2': BZ2Decompressor,
}
_RATIO, _FREE = 1000, 1 << 30  # a file may be so many times its packed size, or so large [bytes]


def unpack_part(kind: str, packed: Bytes, most: int = MOST) -> bytes:
    """Return what is compressed, as far as it is there."""
    most = min(most, MOST)
    plain = b''
    while packed:
        decompressor = _KINDS[kind]()
        plain += decompressor.decompress(packed, max_length=most - len(plain) + 1)
        if len(plain) > most:
            raise ValueError(f'{kind} unpacks to more than {most} bytes')
        packed = decompressor.unused_data if decompressor.eof else b''  # there may be more of it
    return plain


def unpack_all(kind: str, packed: Bytes, most: int = MOST) -> bytes:
    """Return what is compressed; what is cut off is refused."""
    decompressor = _KINDS[kind]()
    plain: bytes = decompressor.decompress(packed, max_length=min(most, MOST) + 1)
    if len(plain) > min(most, MOST):
        raise ValueError(f'{kind} unpacks to more than {min(most, MOST)} bytes')
    if not decompressor.eof:
        raise EOFError(f'{kind} ends before its end')
    rest = decompressor.unused_data
    return plain + unpack_all(kind, rest, min(most, MOST) - len(plain)) if rest else plain


def require_room(packed: int, plain: int) -> None:
    """Refuse a file that unpacks to more than any recording would."""
    if plain > max(_RATIO * packed, _FREE):
        raise ValueError(f'unpacks to more than {plain} bytes, from {packed}')


class _Zstd:
    """What rosbags uses of zstd where metadata.yaml says that files or messages are packed."""

    ZstdError = zstd.ZstdError

    @staticmethod
    def decompress(data: bytes) -> bytes:
        """Unpack a message."""
        return unpack_all('zstd', data)

    @staticmethod
    def open(file: BinaryIO, mode: str) -> Any:
        """Unpack a file."""
        return _Bounded(file, mode)


class _Bounded(zstd.ZstdFile):
    """A packed file, of which no more is read than a recording would be."""

    def __init__(self, file: BinaryIO, mode: str) -> None:
        super().__init__(file, mode)  # type: ignore[call-overload]
        self._packed = file.seek(0, 2)
        file.seek(0)
        self._plain = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes."""
        data = super().read(size)
        self._plain += len(data)
        require_room(self._packed, self._plain)
        return data


for _kind in ('zstd', 'lz4'):
    storage_mcap.DECOMPRESSORS[_kind] = lambda data, size, kind=_kind: unpack_all(kind, data, size)  # type: ignore[misc]
for _kind in ('bz2', 'lz4'):
    reader1.decompressors[_kind] = lambda data, kind=_kind: unpack_all(kind, data)  # type: ignore[misc]
reader2.zstd = _Zstd  # type: ignore[attr-defined, assignment]

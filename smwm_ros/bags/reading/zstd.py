# SPDX-License-Identifier: Apache-2.0
"""
Decompress parts of bags up to a size: a few kilobytes may decompress to any number of bytes.

rosbags has no such limit, so its decompressors are replaced by these functions.
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

__all__ = ['MAX_SIZE', 'decompress_all', 'decompress_part', 'require_plausible_size', 'zstd']

Bytes = bytes | memoryview
MAX_SIZE = 1 << 28  # bytes of a chunk or a message; a raw image of 8K video has 100 MB
_KINDS: dict[str, Any] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': LZ4FrameDecompressor,
    'bz2': BZ2Decompressor,
}
# A file may decompress to this many times its size, or to this many bytes, whichever is more.
_MAX_RATIO, _ALWAYS_ALLOWED = 1000, 1 << 30


def decompress_part(kind: str, packed: Bytes, most: int = MAX_SIZE) -> bytes:
    """Decompress data that may be truncated."""
    most = min(most, MAX_SIZE)
    plain = b''
    while packed:
        decompressor = _KINDS[kind]()
        plain += decompressor.decompress(packed, max_length=most - len(plain) + 1)
        if len(plain) > most:
            raise ValueError(f'{kind} data decompresses to more than {most} bytes')
        packed = decompressor.unused_data if decompressor.eof else b''  # a further frame
    return plain


def decompress_all(kind: str, packed: Bytes, most: int = MAX_SIZE) -> bytes:
    """Decompress data; raise if it is truncated."""
    decompressor = _KINDS[kind]()
    plain: bytes = decompressor.decompress(packed, max_length=min(most, MAX_SIZE) + 1)
    if len(plain) > min(most, MAX_SIZE):
        raise ValueError(f'{kind} data decompresses to more than {min(most, MAX_SIZE)} bytes')
    if not decompressor.eof:
        raise EOFError(f'{kind} data is truncated')
    rest = decompressor.unused_data
    return plain + decompress_all(kind, rest, min(most, MAX_SIZE) - len(plain)) if rest else plain


def require_plausible_size(packed: int, plain: int) -> None:
    """Raise if a file decompresses to more than any recording would."""
    if plain > max(_MAX_RATIO * packed, _ALWAYS_ALLOWED):
        raise ValueError(f'{packed} bytes decompress to more than {plain}')


class _Zstd:
    """The part of the zstd module that rosbags uses for compressed files and messages."""

    ZstdError = zstd.ZstdError

    @staticmethod
    def decompress(data: bytes) -> bytes:
        """Decompress a message."""
        return decompress_all('zstd', data)

    @staticmethod
    def open(file: BinaryIO, mode: str) -> Any:
        """Open a compressed file."""
        return _Bounded(file, mode)


class _Bounded(zstd.ZstdFile):
    """A compressed file that raises where it gets larger than any recording."""

    def __init__(self, file: BinaryIO, mode: str) -> None:
        super().__init__(file, mode)  # type: ignore[call-overload]
        self._packed = file.seek(0, 2)
        file.seek(0)
        self._plain = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes."""
        data = super().read(size)
        self._plain += len(data)
        require_plausible_size(self._packed, self._plain)
        return data


for _kind in ('zstd', 'lz4'):
    storage_mcap.DECOMPRESSORS[_kind] = lambda data, size, kind=_kind: decompress_all(
        kind, data, size
    )  # type: ignore[misc]
for _kind in ('bz2', 'lz4'):
    reader1.decompressors[_kind] = lambda data, kind=_kind: decompress_all(kind, data)  # type: ignore[misc]
reader2.zstd = _Zstd  # type: ignore[attr-defined, assignment]

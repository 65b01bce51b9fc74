# SPDX-License-Identifier: Apache-2.0
"""
Check a compressed image before it is decoded: its format, its size, and whether it is complete.

A few kilobytes may decompress to gigabytes, so the size is limited. A chunk of a PNG may also
declare gigabytes that do not exist: OpenCV allocates them before it reads the chunk.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from smwm_ros.errors import CodecError
from smwm_ros.text import count_of

Bytes: TypeAlias = 'bytes | memoryview'
MAX_PIXELS = 1 << 25  # as many as 8K video; larger images are not decoded
FORMATS = 'png, jpeg, tiff or webp'
_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
# Start-of-frame markers of JPEG, of any coding; C4, C8 and CC are other segments.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MAX_SEGMENTS = 1000  # before the frame
_ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a length
_WIDTH, _HEIGHT = 256, 257  # tags of TIFF


def check(form: str, data: Bytes) -> None:
    """Raise if an image has an unknown format, is truncated, or has too many pixels."""
    size = size_of(data)
    if size is None:
        raise CodecError(
            f"'{form}' image of {count_of(len(data), 'byte')} cannot be decoded; expected "
            f'{FORMATS}, or of a camera h264 or h265'
        )
    width, height = size
    if not 0 < width * height <= MAX_PIXELS:
        raise CodecError(
            f"'{form}' image of {width}x{height} is not decoded; expected at most {MAX_PIXELS} "
            'pixels'
        )
    if not _is_whole(data):
        size_in_bytes = count_of(len(data), 'byte')
        raise CodecError(f"'{form}' image of {size_in_bytes} is truncated or damaged")


def size_of(data: Bytes) -> tuple[int, int] | None:
    """Return width and height from the header, None if they cannot be found."""
    try:
        if data[: len(_PNG)] == _PNG:
            width, height = struct.unpack_from('>II', data, 16)
            return width, height
        if data[:2] == _JPEG:
            return _jpeg(data)
        if data[:4] in (b'II*\0', b'MM\0*'):
            return _tiff(data)
        if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
            return _webp(data)
    except (struct.error, IndexError):  # the header is truncated
        pass
    return None


def _is_whole(data: Bytes) -> bool:
    """Return whether a JPEG has its end marker, and a PNG all chunks up to IEND."""
    if data[:2] == _JPEG:
        return bytes(data).rfind(_JPEG_END) >= 0  # the decoder would fill the rest with grey
    if data[: len(_PNG)] != _PNG:
        return True
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int(struct.unpack_from('>I', data, at)[0])
        kind = data[at + 4 : at + 8]
        at += 12 + length
        if kind == b'IEND':
            return at <= len(data)
    return False


def _jpeg(data: Bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG, from its start-of-frame segment."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from('>HH', data, at + 5)
            return width, height
        else:
            at += 2 + int(struct.unpack_from('>H', data, at + 2)[0])
    return None


def _tiff(data: Bytes) -> tuple[int, int] | None:
    """Return width and height of a TIFF, from its first directory."""
    order = '<' if data[:2] == b'II' else '>'
    (at,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, at)
    found: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f'{order}HH', data, entry)
        if tag in (_WIDTH, _HEIGHT):
            (found[tag],) = struct.unpack_from(
                order + ('H' if kind == 3 else 'I'), data, entry + 8
            )
    return (found[_WIDTH], found[_HEIGHT]) if len(found) == 2 else None


def _webp(data: Bytes) -> tuple[int, int] | None:
    """Return width and height of a WebP, from its first chunk, which has one of three types."""
    kind = data[12:16]
    if kind == b'VP8 ' and data[23:26] == b'\x9d\x01\x2a':
        width, height = struct.unpack_from('<HH', data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b'VP8L' and data[20] == 0x2F:
        (bits,) = struct.unpack_from('<I', data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8X':
        low, high = struct.unpack_from('<IH', data, 24)
        return (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1
    return None

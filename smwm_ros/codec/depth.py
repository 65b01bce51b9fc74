# SPDX-License-Identifier: Apache-2.0
"""
Decode depth images of compressed_depth_image_transport.

The first twelve bytes are a format number and the two parameters of the quantisation. A 16-bit PNG
follows, or RVL data: width and height, then numbers in nibbles. A nibble has three bits of its
number, lowest first, and a bit that is set if more nibbles follow. The numbers are, in turn, a
count of zeros, a count of values, and for each value its difference to the previous value, in the
order 0, -1, 1, -2, 2, ...
"""

from __future__ import annotations

from collections.abc import Callable
import struct

import numpy as np
from smwm_ros.codec.image_headers import MAX_PIXELS
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

_HEAD = 12  # bytes


def read_depth(form: str, data: Array, imdecode: Callable[[Array], Array]) -> Array:
    """Return depth (H, W, 1) float32 [m] from the bytes of a compressedDepth image."""
    source = form.split(';')[0].strip()  # '16UC1; compressedDepth png': encoding of the original
    if data.size < _HEAD:
        raise CodecError(
            f"'{form}' image of {count_of(data.size, 'byte')}: expected 12 bytes and a PNG"
        )
    _, scale, offset = struct.unpack('<iff', data[:_HEAD].tobytes())
    body = data[_HEAD:]
    code = _read_rvl(form, body) if 'rvl' in form.lower() else imdecode(body)
    if code.ndim != 2 or source not in ('16UC1', '32FC1'):
        raise CodecError(f"'{form}' image is not a depth image; expected 16UC1 or 32FC1")
    if source == '16UC1':
        return code[..., None].astype(np.float32) / 1000
    # Inverse depth is stored: code = scale / metres + offset, and 0 where depth is unknown.
    known = code > offset
    metres: Array = np.where(known, scale / np.where(known, code - np.float32(offset), 1), 0.0)
    return metres[..., None]


def _read_rvl(form: str, data: Array) -> Array:
    """Decompress RVL to (H, W) uint16."""
    broken = CodecError(f"'{form}' image of {count_of(data.size, 'byte')} is truncated or damaged")
    if data.size < 8:
        raise broken
    width, height = struct.unpack('<II', data[:8].tobytes())
    if not 0 < width * height <= MAX_PIXELS:
        raise broken
    numbers = _numbers(data[8:])
    depth = np.zeros(width * height, np.uint16)
    values, places = [], []
    at = read = 0  # position in the image, and in the numbers
    while at < len(depth):
        if read >= len(numbers):
            raise broken
        zeros = int(numbers[read])
        count = int(numbers[read + 1]) if read + 1 < len(numbers) else 0
        at, read = at + zeros, read + 2
        if at + count > len(depth) or read + count > len(numbers) or not zeros + count:
            raise broken
        places.append(np.arange(at, at + count))
        values.append(numbers[read : read + count])
        at, read = at + count, read + count
    code = np.concatenate(values)
    steps = np.where(code & 1, -((code + 1) >> 1), code >> 1)
    depth[np.concatenate(places)] = np.cumsum(steps).astype(np.uint16)
    return depth.reshape(height, width)


def _numbers(data: Array) -> Array:
    """Return the numbers in the nibbles of 32-bit words, high nibbles first."""
    words = data[: len(data) // 4 * 4].reshape(-1, 4)[:, ::-1]
    nibbles = np.stack([words >> 4, words & 15], -1).reshape(-1).astype(np.int64)
    last = nibbles < 8  # the last nibble of a number
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]])) if len(nibbles) else np.zeros(0)
    starts = starts[: int(last.sum())].astype(np.int64)
    if not len(starts):
        return starts
    length = np.diff(np.append(starts, np.flatnonzero(last)[-1] + 1))
    digit = np.arange(int(length.sum())) - np.repeat(starts, length)
    shifted = (nibbles[: len(digit)] & 7) << np.minimum(3 * digit, 60)
    numbers: Array = np.add.reduceat(shifted, starts)
    return numbers

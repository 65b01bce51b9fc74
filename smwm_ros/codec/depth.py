# SPDX-License-Identifier: Apache-2.0
"""
Depth images as compressed_depth_image_transport packs them.

Twelve bytes come first: a format number, and how depth was quantised. A PNG of 16 bit follows, or
RVL: width and height, then numbers in nibbles of three bits each, the lowest first, of which the
fourth bit tells that more follow. The numbers count zeros and values in turn, and after each count
of values comes how much each differs from the last: 0, -1, 1, -2, 2, ...
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
    """Return depth (H, W, 1) float32 [m] of the bytes of a compressedDepth image."""
    source = form.split(';')[0].strip()  # '16UC1; compressedDepth png': what it was made from
    if data.size < _HEAD:
        raise CodecError(
            f"'{form}' image of {count_of(data.size, 'byte')}: expected 12 bytes and a PNG"
        )
    _, scale, offset = struct.unpack('<iff', data[:_HEAD].tobytes())
    body = data[_HEAD:]
    code = _read_rvl(form, body) if 'rvl' in form.lower() else imdecode(body)
    if code.ndim != 2 or source not in ('16UC1', '32FC1'):
        raise CodecError(f"'{form}' image is no depth image; expected 16UC1 or 32FC1")
    if source == '16UC1':
        return code[..., None].astype(np.float32) / 1000
    # Inverse depth was stored: code = scale / metres + offset, and 0 where nothing was seen.
    known = code > offset
    metres: Array = np.where(known, scale / np.where(known, code - np.float32(offset), 1), 0.0)
    return metres[..., None]


def _read_rvl(form: str, data: Array) -> Array:
    """Decompress RVL to (H, W) uint16."""
    broken = CodecError(f"'{form}' image of {count_of(data.size, 'byte')} is cut off or damaged")
    if data.size < 8:
        raise broken
    width, height = struct.unpack('<II', data[:8].tobytes())
    if not 0 < width * height <= MAX_PIXELS:
        raise broken
    numbers = _numbers(data[8:])
    depth = np.zeros(width * height, np.uint16)
    values, places = [], []
    at = read = 0  # in the image, and in the numbers
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
    """Return the numbers in the nibbles of words of four bytes, high ones first."""
    words = data[: len(data) // 4 * 4].reshape(-1, 4)[:, ::-1]
    nibbles = np.stack([words >> 4, words & 15], -1).reshape(-1).astype(np.int64)
    last = nibbles < 8  # of its number
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]])) if len(nibbles) else np.zeros(0)
    starts = starts[: int(last.sum())].astype(np.int64)
    if not len(starts):
        return starts
    length = np.diff(np.append(starts, np.flatnonzero(last)[-1] + 1))
    digit = np.arange(int(length.sum())) - np.repeat(starts, length)
    shifted = (nibbles[: len(digit)] & 7) << np.minimum(3 * digit, 60)
    numbers: Array = np.add.reduceat(shifted, starts)
    return numbers

# SPDX-License-Identifier: Apache-2.0
"""
Read the bytes of a message, whatever the middleware holds them in.

rclpy has array.array and rosbags numpy arrays. Where the middleware keeps an image outside of main
memory, rclpy of Lyrical and newer has rosidl_buffer.Buffer, without the buffer protocol.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import Array


def octets(data: Any) -> Array:
    """Return bytes (N,) uint8: a view of data with the buffer protocol, else a copy."""
    try:
        view = memoryview(data)
    except TypeError:
        return _copied(data)
    return np.frombuffer(view if view.c_contiguous else view.tobytes(), np.uint8)


def _copied(data: Any) -> Array:
    """Return a copy of data without the buffer protocol."""
    if hasattr(data, 'to_array'):  # rosidl_buffer.Buffer
        return np.frombuffer(data.to_array(), np.uint8)
    if hasattr(data, '__bytes__'):
        return np.frombuffer(bytes(data), np.uint8)
    try:
        numbers = list(data)
        return np.frombuffer(bytes(numbers), np.uint8)
    except (TypeError, ValueError):
        raise CodecError(
            f'the data of a message is of type {type(data).__name__}, expected bytes'
        ) from None

# SPDX-License-Identifier: Apache-2.0
"""
Messages that are alike but for a stamp and some numbers, or for a picture.

Filling fields one by one and serialising the whole again takes longer than a step of a simulator.
So where numbers stand in the bytes is found out once, and only they are written.
"""

from __future__ import annotations

from collections.abc import Sequence
import struct

import cv2
import numpy as np
from rosbags.typesys.store import Typestore
from smwm_ros.bags.writing.blank import make_room, new_message
from smwm_ros.codec.fields import FieldCodec
from smwm_ros.interfaces import ActionSpec, Array

_STAMP = struct.Struct('<iI')
_STAMP_AT = 4  # a header comes first, after the preamble that tells the byte order
_NUMBERS = (struct.Struct('<d'), struct.Struct('<f'))


class MessageTemplate:
    """The messages of a topic that carry a vector."""

    def __init__(self, store: Typestore, kind: str, fields: Sequence[str], frame_id: str) -> None:
        self._store, self._kind = store, kind
        self._codec = FieldCodec(ActionSpec(tuple(fields), (), (), 0.0))
        self._message = new_message(store, kind)
        make_room(store, self._message, fields)
        self._stamped = hasattr(self._message, 'header')
        if self._stamped:
            self._message.header.frame_id = frame_id
        # Numbers that stand nowhere else: so they are found in the bytes.
        marks = [1234.5 + 0.25 * index for index in range(len(fields))]
        self._bytes = bytearray(self._slowly(np.array(marks), 0))
        self._places = [self._find(mark) for mark in marks]

    def write(self, values: Array, stamp: int) -> bytes:
        """Return a message with a vector, and a stamp [ns] where there is a header."""
        if None in self._places:
            return self._slowly(values, stamp)
        for place, value in zip(self._places, values.tolist(), strict=True):
            assert place is not None
            number, offset = place
            number.pack_into(self._bytes, offset, value)
        if self._stamped:
            _STAMP.pack_into(self._bytes, _STAMP_AT, *divmod(stamp, 1_000_000_000))
        return bytes(self._bytes)

    def _slowly(self, values: Array, stamp: int) -> bytes:
        """Fill all fields of the message, and serialise it."""
        self._codec.decode(values, self._message)
        if self._stamped:
            time = self._message.header.stamp
            time.sec, time.nanosec = divmod(stamp, 1_000_000_000)
        return bytes(self._store.serialize_cdr(self._message, self._kind))

    def _find(self, mark: float) -> tuple[struct.Struct, int] | None:
        """Return where a number stands and what it is made of; None if it is an integer."""
        for number in _NUMBERS:
            if self._bytes.count(number.pack(mark)) == 1:
                return number, self._bytes.index(number.pack(mark))
        return None


class ImageTemplate:
    """The messages of a camera."""

    def __init__(self, store: Typestore, kind: str, frame_id: str) -> None:
        self._store, self._kind = store, kind
        self._message = new_message(store, kind)
        self._message.header.frame_id = frame_id
        self._shape: tuple[int, ...] = ()
        self._head = bytearray()

    def write(self, rgb: Array, stamp: int) -> bytes:
        """Return a message with pixels (H, W, 3)."""
        if hasattr(self._message, 'format'):  # CompressedImage; PNG loses nothing
            self._message.format = 'png'
            self._message.data = cv2.imencode('.png', rgb[:, :, ::-1])[1].reshape(-1)
            return self._slowly(stamp)
        if rgb.shape != self._shape:
            self._shape = rgb.shape
            self._fill(rgb)
            self._head = bytearray(self._slowly(stamp)[: -rgb.size])  # pixels come last
        _STAMP.pack_into(self._head, _STAMP_AT, *divmod(stamp, 1_000_000_000))
        return bytes(self._head) + rgb.tobytes()

    def _fill(self, rgb: Array) -> None:
        """Put pixels into an Image."""
        msg = self._message
        msg.height, msg.width = rgb.shape[:2]
        msg.encoding, msg.step = 'rgb8', 3 * rgb.shape[1]
        msg.data = rgb.reshape(-1)

    def _slowly(self, stamp: int) -> bytes:
        """Serialise the message."""
        time = self._message.header.stamp
        time.sec, time.nanosec = divmod(stamp, 1_000_000_000)
        return bytes(self._store.serialize_cdr(self._message, self._kind))

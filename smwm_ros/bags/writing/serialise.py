# SPDX-License-Identifier: Apache-2.0
"""
Serialise messages that differ only in the stamp and some numbers, or in the image.

Setting fields and serialising the whole message takes longer than a step of a simulator. So the
offsets of the numbers in the serialised bytes are searched for once, and only they are written.
"""

from __future__ import annotations

from collections.abc import Sequence
import struct

import cv2
import numpy as np
from rosbags.typesys.store import Typestore
from smwm_ros.bags.writing.blank import make_room, new_message
from smwm_ros.codec.fields import FieldCodec
from smwm_ros.codec.images import require_writable
from smwm_ros.interfaces import ActionSpec, Array

_STAMP = struct.Struct('<iI')
_STAMP_AT = 4  # the header comes first, after the CDR preamble
_NUMBERS = (struct.Struct('<d'), struct.Struct('<f'))


class MessageTemplate:
    """Serialise the messages of a topic that contain a vector."""

    def __init__(self, store: Typestore, kind: str, fields: Sequence[str], frame_id: str) -> None:
        self._store, self._kind = store, kind
        self._codec = FieldCodec(ActionSpec(tuple(fields), (), (), 0.0))
        self._message = new_message(store, kind)
        make_room(store, self._message, fields)
        self._stamped = hasattr(self._message, 'header')
        if self._stamped:
            self._message.header.frame_id = frame_id
        # Numbers that occur nowhere else in the message mark the offsets of the fields.
        marks = [1234.5 + 0.25 * index for index in range(len(fields))]
        self._bytes = bytearray(self._slowly(np.array(marks), 0))
        self._places = [self._find(mark) for mark in marks]

    def write(self, values: Array, stamp: int) -> bytes:
        """Return a message with this vector, and a stamp [ns] if it has a header."""
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
        """Set all fields of the message, and serialise it."""
        self._codec.decode(values, self._message)
        if self._stamped:
            time = self._message.header.stamp
            time.sec, time.nanosec = divmod(stamp, 1_000_000_000)
        return bytes(self._store.serialize_cdr(self._message, self._kind))

    def _find(self, mark: float) -> tuple[struct.Struct, int] | None:
        """Return format and offset of a number in the bytes; None for an integer field."""
        for number in _NUMBERS:
            if self._bytes.count(number.pack(mark)) == 1:
                return number, self._bytes.index(number.pack(mark))
        return None


class ImageTemplate:
    """Serialise the messages of a camera."""

    def __init__(self, store: Typestore, kind: str, frame_id: str) -> None:
        require_writable(kind)
        self._store, self._kind = store, kind
        self._message = new_message(store, kind)
        self._message.header.frame_id = frame_id
        self._shape: tuple[int, ...] = ()
        self._head = bytearray()

    def write(self, rgb: Array, stamp: int) -> bytes:
        """Return a message with pixels (H, W, 3) and a stamp [ns]."""
        if hasattr(self._message, 'format'):  # CompressedImage; PNG is lossless
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
        """Set the fields of an Image."""
        msg = self._message
        msg.height, msg.width = rgb.shape[:2]
        msg.encoding, msg.step = 'rgb8', 3 * rgb.shape[1]
        msg.data = rgb.reshape(-1)

    def _slowly(self, stamp: int) -> bytes:
        """Serialise the message."""
        time = self._message.header.stamp
        time.sec, time.nanosec = divmod(stamp, 1_000_000_000)
        return bytes(self._store.serialize_cdr(self._message, self._kind))

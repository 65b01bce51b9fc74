# SPDX-License-Identifier: Apache-2.0
"""Keep a few frames of each camera at a larger size, for people: those of a dataset are small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
from smwm_ros.bags.reading.reader import BagReader, Message
from smwm_ros.codec.images import Tile, to_rgb
from smwm_ros.data.photographs import file_name

Attach = Callable[[str, bytes], None]  # writes a file beside the columns of a shard
_EACH = 4  # per camera, spread over the bag, and one more for each change of the image size
_MAX_COUNT = 12  # per camera
_LARGEST = 960  # longer side [px]
_LARGER = 1.5  # ratio to the size in the dataset from which a frame is kept
_QUALITY = 90  # of JPEG


class PhotographWriter:
    """Write some frames of one camera beside the columns of a shard."""

    def __init__(
        self, reader: BagReader, camera: int, tile: Tile, attach: Attach, decoder: str
    ) -> None:
        self._start = reader.start
        self._length = max(reader.end - reader.start, 1)
        self._camera, self._tile, self._attach = camera, tile, attach
        self._decoder = decoder
        self._due, self._kept, self._size = 0, 0, ''

    def add(self, message: Message, msg: Any, size: str) -> None:
        """Write a frame if one is due or its size is new."""
        part = int(_EACH * (message.stamp - self._start) / self._length)
        if (part < self._due and size == self._size) or self._kept >= _MAX_COUNT:
            return
        self._due, self._size = part + 1, size
        rgb = to_rgb(msg, self._decoder)
        height, width = rgb.shape[:2]
        if height <= _LARGER * self._tile.height and width <= _LARGER * self._tile.width:
            return
        scale = min(_LARGEST / max(height, width), 1.0)
        small = cv2.resize(
            rgb, (max(round(scale * width), 1), max(round(scale * height), 1)),
            interpolation=cv2.INTER_AREA,
        )  # fmt: skip
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        seconds = (message.stamp - self._start) / 1e9
        self._attach(file_name(self._camera, seconds, f'{width}x{height}'), jpeg)
        self._kept += 1

# SPDX-License-Identifier: Apache-2.0
"""A column of JPEG images: one file of their concatenated bytes, and the end of each image."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
from smwm_ros.codec import image_headers
from smwm_ros.data.rows import Bytes, DATASET
from smwm_ros.errors import CodecError, DatasetError, one_line
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of


class JpegWriter:
    """Append images to a file."""

    def __init__(self, path: Path, quality: int) -> None:
        self._file = path.open('wb')
        self._quality = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._end = 0
        self.hash = blake2b(digest_size=16)

    def append(self, images: Array) -> Array:
        """Write images (n, H, W, 3) RGB; return the end of each in the file (n,) [bytes]."""
        ends = np.zeros(len(images), '<i8')
        for number, rgb in enumerate(images):
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            data = cv2.imencode('.jpg', bgr, self._quality)[1].tobytes()
            self._file.write(data)
            self.hash.update(data)
            self._end += len(data)
            ends[number] = self._end
        return ends

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JpegColumn:
    """Images on disk, read and decoded on demand."""

    def __init__(self, path: Path, ends: Array, shape: tuple[int, ...]) -> None:
        self._ends = ends
        self._shape = shape  # (H, W, 3)
        self._bytes = Bytes(path)
        size, expected = self._bytes.size, int(ends[-1]) if len(ends) else 0
        if size != expected:
            raise DatasetError(
                f'{path}: missing or damaged: {count_of(size, "byte")}, expected {expected}; '
                f'{DATASET.remedy}'
            )
        if (np.diff(ends, prepend=0) <= 0).any():
            raise DATASET.damaged(
                path.with_suffix('.npy'), 'the ends of the images are not ascending'
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._ends)

    def __getitem__(self, rows: Array) -> Array:
        """Return images (n, H, W, 3) uint8 RGB of any rows, in their order."""
        images = np.empty((len(rows), *self._shape), np.uint8)
        for number, row in enumerate(np.asarray(rows)):
            begin = int(self._ends[row - 1]) if row else 0
            data = np.empty(int(self._ends[row]) - begin, np.uint8)
            self._bytes.read(begin, data)
            images[number] = self._decode(data, row)
        return images

    def _decode(self, data: Array, row: int) -> Array:
        """Return one image (H, W, 3) RGB."""
        path = self._bytes.path
        try:
            image_headers.check('.jpeg', data.tobytes())
            bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
        except (CodecError, cv2.error) as error:
            reason = f'image {row} cannot be decoded: {one_line(error)}'
            raise DATASET.damaged(path, reason) from None
        if bgr is None or bgr.shape != self._shape:
            raise DATASET.damaged(path, f'image {row} cannot be decoded')
        rgb: Array = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return rgb

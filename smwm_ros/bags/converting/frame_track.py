# SPDX-License-Identifier: Apache-2.0
"""
Collect the frames of one camera while a bag is read: stamps in memory, pixels in a temporary file.

Frames are decoded at once, unless the grid is already known and does not need them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
from smwm_ros.bags.converting.grid import FrameGate
from smwm_ros.bags.reading.reader import Message
from smwm_ros.bags.reading.steps import JUMP
from smwm_ros.codec.images import Tile
from smwm_ros.interfaces import Array

STEPPED_BACK = 'steps back of the clock'
_MAX_NAMED = 4  # sizes of images
_UNUSED, _DAMAGED = -1, -2  # positions of frames that are not stored


class DecodedFrame(NamedTuple):
    """A decoded and resized frame."""

    pixels: Array  # (H, W, 3) of its tile
    size: str  # 'WIDTHxHEIGHT' of the original image


class FrameTrack:
    """Collect the frames of a camera; `decode` returns None for a damaged frame."""

    def __init__(
        self,
        tile: Tile,
        folder: Path,
        gate: FrameGate | None,
        decode: Callable[[Message], DecodedFrame | None],
    ) -> None:
        self._shape = (tile.height, tile.width, 3)
        self._gate = gate
        self._decode = decode
        self.sizes: list[str] = []  # of the images, each change in order
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close
        self.clear()

    def clear(self) -> None:
        """Remove all frames."""
        self._stamps = array('q')  # ascending
        self._positions = array('q')  # index of each frame in the file
        self._size_numbers = array('q')  # len(self.sizes) at each frame
        self._pending: Message | None = None  # the newest frame, which may not be needed
        self._stored = 0
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # its content is not needed any more
            self._file.close()

    def stamp_problem(self, stamp: int) -> str:
        """Return what is wrong with the stamp of the next frame, or ''."""
        if not self._stamps or stamp > self._stamps[-1]:
            return ''
        if stamp <= self._stamps[-1] - JUMP:
            return STEPPED_BACK
        repeated = stamp == self._stamps[-1]
        return 'frames with a repeated stamp' if repeated else 'frames out of order'

    def size_note(self) -> str:
        """Return how the size of the images changed, or ''."""
        if len(self.sizes) < 2:
            return ''
        more = ', ...' if len(self.sizes) > _MAX_NAMED else ''
        named = ', then '.join(self.sizes[:_MAX_NAMED])
        return f'the image size changed: {named}{more}; a new episode begins there'

    def add(self, message: Message, stamp: int) -> None:
        """Add the next frame, whose stamp has no problem."""
        if self._gate is None:
            self._store(message)
        else:
            self._finish_pending(self._gate.next(stamp))
            self._pending = message
        self._stamps.append(stamp)

    def finish(self) -> tuple[Array, Array, Array]:
        """Return stamps (n,), which frames can be decoded (n,), and their size numbers (n,)."""
        if self._gate is not None:
            self._finish_pending(self._gate.end())
        good = np.array(self._positions, np.int64) != _DAMAGED
        return np.array(self._stamps, np.int64), good, np.array(self._size_numbers, np.int64)

    @property
    def newest(self) -> int | None:
        """Return the stamp of the newest frame."""
        return self._stamps[-1] if self._stamps else None

    def load(self, frames: Array) -> Array:
        """Return the pixels (n, H, W, 3) of stored frames; the indices do not descend."""
        positions = np.array(self._positions, np.int64)[frames]
        low, high = int(positions[0]), int(positions[-1]) + 1
        size = int(np.prod(self._shape))
        self._file.seek(low * size)
        data = self._file.read((high - low) * size)
        pixels: Array = np.frombuffer(data, np.uint8).reshape(-1, *self._shape)[positions - low]
        return pixels

    def _finish_pending(self, needed: bool) -> None:
        """Store the pending frame if the grid needs it, otherwise drop it."""
        if self._pending is not None and needed:
            self._store(self._pending)
        elif self._pending is not None:
            self._note_position(_UNUSED)
        self._pending = None

    def _store(self, message: Message) -> None:
        """Decode a frame, and write its pixels to the file."""
        frame = self._decode(message)
        if frame is None:
            self._note_position(_DAMAGED)
            return
        if not self.sizes or frame.size != self.sizes[-1]:
            self.sizes.append(frame.size)
        self._file.write(np.ascontiguousarray(frame.pixels).data)
        self._note_position(self._stored)
        self._stored += 1

    def _note_position(self, position: int) -> None:
        """Note the position of a frame; one that is not decoded gets the previous size."""
        self._positions.append(position)
        self._size_numbers.append(len(self.sizes))

# SPDX-License-Identifier: Apache-2.0
"""
The frames of one camera while a bag is read: stamps in memory, pixels in a file without a name.

Frames are decoded as they come, unless the grid is known already and does not need them.
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

JUMPED = 'jumps of the clock'
_UNUSED, _DAMAGED = -1, -2  # places of frames that are not parked


class Seen(NamedTuple):
    """A frame that was decoded."""

    pixels: Array  # (H, W, 3) of its tile
    size: str  # 'WIDTHxHEIGHT' of the image


class FrameTrack:
    """Hears the frames of a camera; `see` decodes one, or returns None if it is damaged."""

    def __init__(
        self,
        tile: Tile,
        folder: Path,
        gate: FrameGate | None,
        see: Callable[[Message], Seen | None],
    ) -> None:
        self._shape = (tile.height, tile.width, 3)
        self._gate = gate
        self._see = see
        self.sizes: list[str] = []  # of all images, as they changed
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close
        self.clear()

    def clear(self) -> None:
        """Forget all frames."""
        self._stamps = array('q')  # they rise
        self._places = array('q')  # where in the file each frame is parked
        self._looks = array('q')  # which of the sizes each frame has
        self._pending: Message | None = None  # the newest one, not yet known to be needed
        self._parked = 0
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Give the file back."""
        with suppress(OSError):  # of what nobody reads any more
            self._file.close()

    def flaw(self, stamp: int) -> str:
        """Say what is odd about the stamp of the next frame, or nothing."""
        if not self._stamps or stamp > self._stamps[-1]:
            return ''
        if stamp <= self._stamps[-1] - JUMP:
            return JUMPED
        seen = stamp == self._stamps[-1]
        return 'frames of a stamp seen before' if seen else 'frames too late'

    def hear(self, message: Message, stamp: int) -> None:
        """Take the next frame; its stamp has no flaw."""
        if self._gate is None:
            self._park(message)
        else:
            self._settle(self._gate.next(stamp))
            self._pending = message
        self._stamps.append(stamp)

    def finish(self) -> tuple[Array, Array, Array]:
        """Return of all frames stamps (n,), which can be shown (n,), and which size each has."""
        if self._gate is not None:
            self._settle(self._gate.end())
        good = np.array(self._places, np.int64) != _DAMAGED
        return np.array(self._stamps, np.int64), good, np.array(self._looks, np.int64)

    @property
    def newest(self) -> int | None:
        """Return the stamp of the newest frame."""
        return self._stamps[-1] if self._stamps else None

    def load(self, frames: Array) -> Array:
        """Return the pixels (n, H, W, 3) of parked frames by index; the index never falls."""
        places = np.array(self._places, np.int64)[frames]
        low, high = int(places[0]), int(places[-1]) + 1
        size = int(np.prod(self._shape))
        self._file.seek(low * size)
        data = self._file.read((high - low) * size)
        pixels: Array = np.frombuffer(data, np.uint8).reshape(-1, *self._shape)[places - low]
        return pixels

    def _settle(self, needed: bool) -> None:
        """Park the pending frame, if the grid needs it."""
        if self._pending is not None and needed:
            self._park(self._pending)
        elif self._pending is not None:
            self._place(_UNUSED)
        self._pending = None

    def _park(self, message: Message) -> None:
        """Decode a frame, and keep its pixels."""
        seen = self._see(message)
        if seen is None:
            self._place(_DAMAGED)
            return
        if not self.sizes or seen.size != self.sizes[-1]:
            self.sizes.append(seen.size)
        self._file.write(np.ascontiguousarray(seen.pixels).data)
        self._place(self._parked)
        self._parked += 1

    def _place(self, place: int) -> None:
        """Note where a frame is; one that is not looked at has the size of the one before."""
        self._places.append(place)
        self._looks.append(len(self.sizes))

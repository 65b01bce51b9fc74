# SPDX-License-Identifier: Apache-2.0
"""
Frames as the camera saw them, beside the columns of a shard.

File names hold camera, time and size.
"""

from __future__ import annotations

from pathlib import Path
import re
from typing import NamedTuple

FOLDER = 'camera'
_NAME = re.compile(r'(\d{1,3})_(\d{1,9}\.\d\d)s_(\d{1,6}x\d{1,6})\.jpg')
_MOST = 4_000_000  # bytes of a file that is read


class Photograph(NamedTuple):
    """A frame as the camera saw it."""

    camera: int  # which of robot.camera
    seconds: float  # since the recording began, by its receive time
    size: str  # WIDTHxHEIGHT of the camera's image
    path: Path

    def read(self) -> bytes:
        """Return the JPEG, nothing where it is gone or too large."""
        try:
            with self.path.open('rb') as file:
                data = file.read(_MOST + 1)
        except OSError:
            return b''
        return data if data[:2] == b'\xff\xd8' and len(data) <= _MOST else b''


def file_name(camera: int, seconds: float, size: str) -> str:
    """Return where such a frame lies in its shard."""
    return f'{FOLDER}/{camera}_{max(seconds, 0.0):09.2f}s_{size}.jpg'


def photographs(shard: Path) -> list[Photograph]:
    """Return the frames of a shard, in order; older datasets, and imported ones, have none."""
    found = []
    for path in sorted((shard / FOLDER).glob('*.jpg')):
        if parts := _NAME.fullmatch(path.name):
            found.append(Photograph(int(parts[1]), float(parts[2]), parts[3], path))
    return found

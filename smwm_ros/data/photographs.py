# SPDX-License-Identifier: Apache-2.0
"""
A few larger frames of each camera beside the columns of a shard, for people.

File names contain camera, time and size.
"""

from __future__ import annotations

from pathlib import Path
import re
from typing import NamedTuple

FOLDER = 'camera'
_NAME = re.compile(r'(\d{1,3})_(\d{1,9}\.\d\d)s_(\d{1,6}x\d{1,6})\.jpg')
_MAX_BYTES = 4_000_000  # larger files are not read


class Photograph(NamedTuple):
    """A frame of a camera."""

    camera: int  # index in robot.camera
    seconds: float  # receive time since the start of the bag
    size: str  # WIDTHxHEIGHT of the camera's image
    path: Path

    def read(self) -> bytes:
        """Return the JPEG, b'' if it is missing or too large."""
        try:
            with self.path.open('rb') as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError:
            return b''
        return data if data[:2] == b'\xff\xd8' and len(data) <= _MAX_BYTES else b''


def file_name(camera: int, seconds: float, size: str) -> str:
    """Return the path of a frame within its shard."""
    return f'{FOLDER}/{camera}_{max(seconds, 0.0):09.2f}s_{size}.jpg'


def photographs(shard: Path) -> list[Photograph]:
    """Return the frames of a shard, in order; older and imported datasets have none."""
    found = []
    for path in sorted((shard / FOLDER).glob('*.jpg')):
        if parts := _NAME.fullmatch(path.name):
            found.append(Photograph(int(parts[1]), float(parts[2]), parts[3], path))
    return found

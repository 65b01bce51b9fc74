# SPDX-License-Identifier: Apache-2.0
"""
Write a recording for the Rerun viewer: images, numbers, texts and points at instants.

What was not recorded must not look as if it were: the viewer shows the last value of an entity
until there is another one, so a gap clears what it does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from smwm_ros.errors import missing_extra, writing
from smwm_ros.files import appearing
from smwm_ros.interfaces import Array

try:
    import rerun
except ImportError:
    raise missing_extra('Rerun', 'viz', "rerun-sdk, or '.[viz]' in its folder") from None

RERUN: Any = rerun  # for the other modules here: one place explains that it is missing

APPLICATION = 'smwm_ros'
ROBOT_TIME, STEP = 'robot_time', 'step'  # timelines
PNG, JPEG = 'image/png', 'image/jpeg'
INFO, WARN, ERROR = 'INFO', 'WARN', 'ERROR'
BLUE, ORANGE, GREEN, GREY = (66, 135, 245), (209, 105, 14), (42, 160, 84), (140, 148, 158)


@dataclass(frozen=True)
class Instants:
    """When things were: in the time of the robot, and in steps."""

    steps: Array  # (n,) int64
    stamps: Array  # (n,) int64 [ns]
    clock: str = ROBOT_TIME  # timeline of the stamps

    def __getitem__(self, rows: Any) -> Instants:
        """Return some of the instants."""
        return Instants(
            np.atleast_1d(self.steps[rows]), np.atleast_1d(self.stamps[rows]), self.clock
        )


class ViewerRecording:
    """What is sent to a file or to a viewer; parts of a path are separated by slashes."""

    def __init__(self, name: str) -> None:
        self.stream = rerun.RecordingStream(APPLICATION)
        self.stream.send_recording_name(name)
        self._images = set[str]()  # paths

    def images(self, path: str, at: Instants, frames: Iterable[Array]) -> None:
        """Add frames (n, H, W, 3) RGB, compressed without loss."""
        self.encoded(path, at, [to_png(frame) for frame in frames], PNG)

    def encoded(self, path: str, at: Instants, files: Sequence[bytes], kind: str) -> None:
        """Add image files (n) of one kind."""
        self._images.add(path)
        self._send(path, at, rerun.EncodedImage, blob=files, media_type=[kind] * len(files))

    def numbers(self, path: str, at: Instants, values: Array) -> None:
        """Add numbers (n,); where one is not finite, the curve has a gap."""
        known = np.isfinite(values)
        self._send(path, at[known], rerun.Scalars, scalars=values[known])
        self.clear(path, at[losses(known)])

    def texts(self, path: str, at: Instants, lines: Sequence[str], levels: Sequence[str]) -> None:
        """Add lines (n) of a log."""
        self._send(path, at, rerun.TextLog, text=lines, level=levels)

    def points(self, path: str, at: Instants, places: Array, look: Look) -> None:
        """Add a point (n, 3) at each instant."""
        words = {'colors': [look.colour] * len(places), 'radii': [look.radius] * len(places)}
        self._send(path, at, rerun.Points3D, positions=places, **words)

    def lines(self, path: str, at: Instants, strips: Sequence[Array], look: Look) -> None:
        """Add a line (m, 3) at each of n instants."""
        words = {'colors': [look.colour] * len(strips), 'radii': [look.radius] * len(strips)}
        self._send(path, at, rerun.LineStrips3D, strips=strips, **words)

    def clear(self, path: str, at: Instants) -> None:
        """Show nothing of an entity, and of those below it, from these instants on."""
        if path in self._images:  # the viewer (0.41) shows an image in spite of a Clear
            nothing = rerun.EncodedImage.columns(blob=[], media_type=[])
            self._columns(path, at, nothing.partition([0] * len(at.steps)))
        else:
            self._send(path, at, rerun.Clear, is_recursive=[True] * len(at.steps))

    def legend(self, path: str, name: str, colour: tuple[int, int, int]) -> None:
        """Name the curve of an entity, for all time."""
        self.stream.log(path, rerun.SeriesLines(names=name, colors=[colour]), static=True)

    def layout(self, blueprint: Any) -> None:
        """Store how the viewer shows this recording at first."""
        self.stream.send_blueprint(blueprint)

    def _send(self, path: str, at: Instants, kind: Any, **columns: Any) -> None:
        """Send columns of one kind, a row at each instant."""
        if len(at.steps):
            self._columns(path, at, kind.columns(**columns))

    def _columns(self, path: str, at: Instants, columns: Any) -> None:
        """Send columns."""
        if len(at.steps):
            times = [
                rerun.TimeColumn(STEP, sequence=at.steps),
                rerun.TimeColumn(at.clock, timestamp=at.stamps.astype('datetime64[ns]')),
            ]
            self.stream.send_columns(path, times, columns)


class Look(NamedTuple):
    """Colour and size of points and lines."""

    colour: tuple[int, int, int]  # RGB
    radius: float = -3.0  # in the scene, or if it is negative on the screen [px]


@contextmanager
def recorded(path: Path, name: str) -> Iterator[ViewerRecording]:
    """Yield a recording that becomes a file when it is complete, and replaces an older one."""
    with appearing(path, replace=True) as part:
        recording = ViewerRecording(name)
        with writing(path, RuntimeError):
            recording.stream.save(part)
        yield recording
        with writing(path, RuntimeError):
            recording.stream.flush()
        recording.stream.disconnect()


def losses(known: Any) -> Array:
    """Return where something is not known any more, or not from the begin (n,) bool."""
    lost: Array = ~known & np.concatenate([[True], known[:-1]])
    return lost


def entity(*parts: str) -> str:
    """Return the path of an entity whose parts may hold any characters, such as field names."""
    path: str = rerun.new_entity_path(list(parts))
    return path


def to_png(frame: Array) -> bytes:
    """Return a frame (H, W, 3) RGB as a PNG file."""
    data: bytes = cv2.imencode('.png', frame[..., ::-1])[1].tobytes()
    return data

# SPDX-License-Identifier: Apache-2.0
"""Send what a running plan node does to a viewer, or to a file, while it happens."""

from __future__ import annotations

from collections.abc import Mapping
import logging
from pathlib import Path
import shutil
import sys
import time

import numpy as np
from smwm_ros.errors import SmwmError, writing
from smwm_ros.interfaces import Array
from smwm_ros.planning.frame_bank import to_jpeg
from smwm_ros.viewers.layout import charts_of, layout, LOG, View3D
from smwm_ros.viewers.recording import (
    APPLICATION,
    BLUE,
    entity,
    GREEN,
    GREY,
    Instants,
    JPEG,
    Look,
    ORANGE,
    RERUN,
    ROBOT_TIME,
    ViewerRecording,
)

_log = logging.getLogger(__name__)

PORT = 9876  # of a viewer on this machine
_FLUSH = 5.0  # longest wait for a viewer to take what was sent [s]
_RETRY = 2.0  # between two tries to reach a viewer [s]
_WAY = 'path'
_CHARTS = {
    'distance': 'Latent distance to the goal',
    'cost': 'Shares of the cost',
    'latency': 'Latency [ms]',
    'drive': 'Novelty and progress',
    'rates': 'Rates [Hz]',
}
_COLOURS = {'sent': ORANGE, 'low': GREY, 'high': GREY, 'reached_below': GREEN}
_COLOURS |= {'novelty_limit': GREY}


class Live:
    """
    A recording of a plan node, in a file or in a viewer.

    After each batch of messages it waits until they are sent, so that a slow viewer makes the
    bounded queue of messages drop the oldest, and memory does not grow. A viewer that is gone is
    looked for again; it gets what comes from then on.
    """

    def __init__(self, name: str, file: Path | None, address: str | None) -> None:
        self._name, self._file, self._address = name, file, address
        self._steps = 0  # plans
        self._fields: tuple[str, ...] = ()
        self._images: list[str] = ['camera', 'goal', 'plan_image']
        self._next_try = 0.0
        self._reached = self._way = False
        self._open()

    def image(self, name: str, rgb: Array, stamp: int) -> None:
        """Show an image (H, W, 3)."""
        if name not in self._images:
            self._images.insert(1, name)
            self._lay_out()
        self._recording.encoded(name, self._at(stamp), [to_jpeg(rgb)], JPEG)

    def lost(self, name: str, stamp: int) -> None:
        """Show no image until the next one."""
        self._recording.clear(name, self._at(stamp))

    def numbers(self, values: Mapping[tuple[str, ...], float], stamp: int) -> None:
        """Show numbers, each in a curve of its own."""
        for path, value in values.items():
            name = entity(*path)
            if path not in self._named and path[-1] in _COLOURS:
                self._named.add(path)
                self._recording.legend(name, path[-1], _COLOURS[path[-1]])
            self._recording.numbers(name, self._at(stamp), np.array([value], float))

    def way(self, points: Array, goal: Array, stamp: int) -> None:
        """Show the path of a plan (n, 3), and goals (m, 3)."""
        at = self._at(stamp)
        self._recording.lines(f'{_WAY}/plan', at, [points], Look(ORANGE, -2.0))
        self._recording.points(f'{_WAY}/robot', at, points[:1], Look(BLUE, -6.0))
        if len(goal):
            self._recording.points(f'{_WAY}/goal', at, goal[:1], Look(GREEN, -7.0))
        else:
            self._recording.clear(f'{_WAY}/goal', at)
        if not self._way:
            self._way = True
            self._lay_out()

    def gone(self, stamp: int) -> None:
        """Show nothing from now on: the node is gone."""
        for name in (*self._images, 'command', _WAY, *_CHARTS):
            self._recording.clear(name, self._at(stamp))

    def text(self, line: str, level: str, stamp: int) -> None:
        """Add a line to the log."""
        self._recording.texts(LOG, self._at(stamp), [line], [level])

    def plan(self) -> None:
        """Count a plan: the next step."""
        self._steps += 1

    def commands(self, fields: tuple[str, ...]) -> None:
        """Lay out the curves of commands."""
        self._fields = fields
        self._lay_out()

    def flush(self) -> None:
        """Wait until everything is sent; look for a viewer that is gone."""
        try:
            self._recording.stream.flush(timeout_sec=_FLUSH)
        except (RuntimeError, ValueError) as error:
            if self._address is None:
                raise SmwmError(f'{self._file}: cannot be written: {error}') from None
            if self._reached:
                self._reached = False
                _log.warning('the viewer at %s is gone; looking for it again', self._address)
            if time.monotonic() > self._next_try:
                self._open()

    def close(self) -> None:
        """Send the rest, and complete the file."""
        self.flush()
        self._recording.stream.disconnect()

    def _open(self) -> None:
        """Begin a recording in the file, or in the viewer."""
        self._recording = ViewerRecording(self._name)
        self._named = set[tuple[str, ...]]()
        self._way = False  # no path is known here
        if self._file:
            with writing(self._file, RuntimeError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._recording.stream.save(self._file)
        else:
            self._recording.stream.connect_grpc(self._address)
        self._reached = True
        self._next_try = time.monotonic() + _RETRY
        self._lay_out()

    def _lay_out(self) -> None:
        """Send the layout."""
        charts = charts_of('command', self._fields) or {'command': 'Commands'}
        square = np.array([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
        scenes = [View3D(_WAY, 'Plan', square, (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))]
        found = layout(self._images, {**charts, **_CHARTS}, scenes * self._way, ROBOT_TIME)
        self._recording.layout(found)

    def _at(self, stamp: int) -> Instants:
        """Return the instant of a message."""
        return Instants(np.array([self._steps]), np.array([stamp]))


def spawn() -> str:
    """Start a viewer on this machine, or use the one that runs; return its address."""
    beside = Path(sys.executable).with_name('rerun')
    program = shutil.which('rerun') or (str(beside) if beside.exists() else None)
    if program is None:
        raise SmwmError('the program rerun is not found; it comes with the package rerun-sdk')
    stream = RERUN.RecordingStream(APPLICATION)  # without one, spawn() does nothing
    RERUN.spawn(
        port=PORT, connect=False, executable_path=program, memory_limit='25%', recording=stream
    )
    return f'rerun+http://127.0.0.1:{PORT}/proxy'


def address_of(word: str) -> str:
    """Return the address of a viewer: HOST, HOST:PORT, or one that begins with rerun+http://."""
    if '://' in word:
        return word
    host, _, port = word.partition(':')
    return f'rerun+http://{host}:{port or PORT}/proxy'

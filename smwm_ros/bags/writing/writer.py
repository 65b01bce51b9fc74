# SPDX-License-Identifier: Apache-2.0
"""Write frames and actions as a rosbag2, with the topics and message types of a robot."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from heapq import heappop, heappush
from pathlib import Path
import sqlite3
from tempfile import TemporaryDirectory
from types import TracebackType

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from smwm_ros.bags.reading.topics import as_recorded
from smwm_ros.bags.writing.blank import jazzy
from smwm_ros.bags.writing.serialise import ImageTemplate, MessageTemplate
from smwm_ros.config import CAMERA_FRAME, Command, Robot, State
from smwm_ros.errors import BagError, writing
from smwm_ros.fieldpath import expand
from smwm_ros.files import publish
from smwm_ros.interfaces import Array, Frame

COMMAND_DELAY = 1_000_000  # a command follows the frame that it answers after this [ns]
PARTIAL = '.recording-'  # begins the hidden folder in which a bag is being written
STRING = 'std_msgs/msg/String'
SUFFIXES = {'mcap': '.mcap', 'sqlite3': '.db3'}  # of the file in a bag
_NEVER_OVER = QosTime(9_223_372_036, 854_775_807)
# What `ros2 bag record` of Jazzy notes of a reliable publisher; others do not learn its history.
_RELIABLE = Qos(
    QosHistory.UNKNOWN,
    0,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _NEVER_OVER,
    _NEVER_OVER,
    QosLiveliness.AUTOMATIC,
    _NEVER_OVER,
    False,
)


class BagWriter:
    """
    One rosbag2, in mcap compressed by chunks or in sqlite3.

    Use it as a context manager: the bag is written in a hidden folder and appears under its name
    when it is whole, so nothing half-written is ever found there. Messages are kept until they
    are flushed, and written in the order in which they were received.
    """

    def __init__(self, path: Path, robot: Robot, storage: str = 'mcap') -> None:
        if len(robot.camera.topics) > 1:
            raise BagError(f'{path}: cannot be written: robot.camera.others asks for more cameras')
        robot = as_recorded(robot)
        self.path = path
        self._robot = robot
        self._storage = StoragePlugin[storage.upper()]
        self._store = jazzy()
        # A field that a message lacks is an error now, not in the middle of a recording.
        self._image, self._command, self._state = (
            ImageTemplate(self._store, robot.camera.type, CAMERA_FRAME),
            self._template(robot.command),
            self._template(robot.state),
        )
        self._topics: dict[str, Connection] = {}
        self._waiting: list[tuple[int, int, Connection, bytes]] = []  # a heap by time of receipt
        self._count = 0

    def __enter__(self) -> BagWriter:
        """Open the bag."""
        if self.path.exists():
            raise BagError(f'{self.path}: exists already; remove it or choose another path')
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = TemporaryDirectory(prefix=PARTIAL, dir=self.path.parent)
            self._bag = Writer(
                Path(self._folder.name) / self.path.name,  # its file is named after its folder
                version=9,  # as ROS 2 Jazzy writes it
                storage_plugin=self._storage,
            )
            if self._storage == StoragePlugin.MCAP:
                self._bag.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._bag.open()
            robot = self._robot
            for topic in (robot.camera, robot.command, robot.state):
                if topic.topic:
                    self._connect(topic.topic, topic.type)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the bag under its name, or leave nothing behind after an error."""
        with self._folder, self._writing():
            if kind is not None:
                with suppress(OSError, sqlite3.Error):  # a full disk is full for this too
                    self._bag.abort()
                return
            self.flush()
            self._bag.close()
            publish(self._bag.path, self.path)

    def write(self, frame: Frame, action: Array | None, stamp: int) -> None:
        """Write what was seen and measured at a stamp [ns], and what was commanded upon it."""
        self.see(frame.pixels, stamp, [stamp])
        self.measure(frame.state, stamp, [stamp])
        if action is not None:
            self.command(action, stamp + COMMAND_DELAY, [stamp + COMMAND_DELAY])
        self.flush(stamp)

    def see(self, rgb: Array, stamp: int, received: Sequence[int]) -> None:
        """Write pixels (H, W, 3) with a stamp in the header, once for each receipt [ns]."""
        self._keep(self._robot.camera.topic, self._image.write(rgb, stamp), received)

    def measure(self, state: Array, stamp: int, received: Sequence[int]) -> None:
        """Write a measured state (P,), if the robot has a topic for it."""
        if self._robot.state.topic:
            self._keep(self._robot.state.topic, self._state.write(state, stamp), received)

    def command(self, action: Array, stamp: int, received: Sequence[int]) -> None:
        """Write a raw action (A,)."""
        self._keep(self._robot.command.topic, self._command.write(action, stamp), received)

    def note(self, topic: str, text: str, received: int) -> None:
        """Write a text about the recording on a String topic."""
        if topic not in self._topics:
            with self._writing():
                self._connect(topic, STRING)
        message = self._store.types[STRING](text)
        self._keep(topic, bytes(self._store.serialize_cdr(message, STRING)), [received])

    def flush(self, before: int | None = None) -> None:
        """Write what was received before a time [ns], or all; nothing earlier may follow."""
        waiting = self._waiting
        with self._writing():
            while waiting and (before is None or waiting[0][0] < before):
                received, _, connection, data = heappop(waiting)
                self._bag.write(connection, received, data)

    def _connect(self, topic: str, kind: str) -> None:
        """Declare a topic."""
        self._topics[topic] = self._bag.add_connection(
            topic, kind, typestore=self._store, offered_qos_profiles=[_RELIABLE]
        )

    def _template(self, topic: Command | State) -> MessageTemplate:
        """Prepare the messages of a topic that carry a vector."""
        return MessageTemplate(self._store, topic.type, expand(topic.fields), topic.frame_id)

    def _keep(self, topic: str, data: bytes, received: Sequence[int]) -> None:
        """Keep a message until it is flushed, once for each time of receipt."""
        for instant in received:
            self._count += 1  # of what is received at the same time, the first comes first
            heappush(self._waiting, (instant, self._count, self._topics[topic], data))

    def _writing(self) -> AbstractContextManager[None]:
        """Turn what a full or forbidden disk raises into one line."""
        return writing(self.path, sqlite3.Error, WriterError)

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

COMMAND_DELAY = 1_000_000  # from a frame to the command computed from it [ns]
PARTIAL = '.recording-'  # prefix of the hidden folder in which a bag is written
STRING = 'std_msgs/msg/String'
SUFFIXES = {'mcap': '.mcap', 'sqlite3': '.db3'}  # of the file in a bag
_UNLIMITED = QosTime(9_223_372_036, 854_775_807)
# The QoS that `ros2 bag record` of Jazzy stores for a reliable publisher; history is unknown.
RELIABLE = Qos(
    QosHistory.UNKNOWN,
    0,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _UNLIMITED,
    _UNLIMITED,
    QosLiveliness.AUTOMATIC,
    _UNLIMITED,
    False,
)


class BagWriter:
    """
    Write one rosbag2, in mcap compressed by chunks or in sqlite3.

    Use it as a context manager: the bag is written in a hidden folder, which is renamed when it
    is complete. Messages are queued until flush(), and written in the order of receive time.
    """

    def __init__(self, path: Path, robot: Robot, storage: str = 'mcap') -> None:
        if len(robot.camera.topics) > 1:
            raise BagError(
                f'{path}: cannot be written: robot.camera.others names further cameras, expected '
                'none'
            )
        robot = as_recorded(robot)
        self.path = path
        self._robot = robot
        self._storage = StoragePlugin[storage.upper()]
        self._store = jazzy()
        # A field that does not exist raises here, not in the middle of a recording.
        self._image, self._command, self._state = (
            ImageTemplate(self._store, robot.camera.type, CAMERA_FRAME),
            self._template(robot.command),
            self._template(robot.state),
        )
        self._topics: dict[str, Connection] = {}
        self._queued: list[tuple[int, int, Connection, bytes]] = []  # a heap by receive time
        self._count = 0

    def __enter__(self) -> BagWriter:
        """Open the bag."""
        if self.path.exists():
            raise BagError(f'{self.path}: exists already; remove it or choose another path')
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = TemporaryDirectory(prefix=PARTIAL, dir=self.path.parent)
            self._bag = Writer(
                Path(self._folder.name) / self.path.name,  # the file gets the name of the folder
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
        """Move the bag to its path, or remove it after an error."""
        with self._folder, self._writing():
            if kind is not None:
                with suppress(OSError, sqlite3.Error):  # on a full disk this fails as well
                    self._bag.abort()
                return
            self.flush()
            self._bag.close()
            publish(self._bag.path, self.path)

    def write(self, frame: Frame, action: Array | None, stamp: int) -> None:
        """Write a frame at a stamp [ns], and the action that follows it."""
        self.write_image(frame.pixels, stamp, [stamp])
        self.write_state(frame.state, stamp, [stamp])
        if action is not None:
            self.write_command(action, stamp + COMMAND_DELAY, [stamp + COMMAND_DELAY])
        self.flush(stamp)

    def write_image(self, rgb: Array, stamp: int, received: Sequence[int]) -> None:
        """Write pixels (H, W, 3) with a header stamp, once for each receive time [ns]."""
        self._queue(self._robot.camera.topic, self._image.write(rgb, stamp), received)

    def write_state(self, state: Array, stamp: int, received: Sequence[int]) -> None:
        """Write a measured state (P,), if the robot has a topic for it."""
        if self._robot.state.topic:
            self._queue(self._robot.state.topic, self._state.write(state, stamp), received)

    def write_command(self, action: Array, stamp: int, received: Sequence[int]) -> None:
        """Write a raw action (A,), if the robot has a topic for it."""
        if self._robot.command.topic:
            self._queue(self._robot.command.topic, self._command.write(action, stamp), received)

    def write_text(self, topic: str, text: str, received: int) -> None:
        """Write a std_msgs/String on a topic."""
        if topic not in self._topics:
            with self._writing():
                self._connect(topic, STRING)
        message = self._store.types[STRING](text)
        self._queue(topic, bytes(self._store.serialize_cdr(message, STRING)), [received])

    def flush(self, before: int | None = None) -> None:
        """Write the queued messages before a time [ns], or all; no earlier ones may follow."""
        queued = self._queued
        with self._writing():
            while queued and (before is None or queued[0][0] < before):
                received, _, connection, data = heappop(queued)
                self._bag.write(connection, received, data)

    def _connect(self, topic: str, kind: str) -> None:
        """Declare a topic."""
        self._topics[topic] = self._bag.add_connection(
            topic, kind, typestore=self._store, offered_qos_profiles=[RELIABLE]
        )

    def _template(self, topic: Command | State) -> MessageTemplate:
        """Prepare the messages of a topic that contain a vector."""
        return MessageTemplate(self._store, topic.type, expand(topic.fields), topic.frame_id)

    def _queue(self, topic: str, data: bytes, received: Sequence[int]) -> None:
        """Queue a message until it is flushed, once for each receive time."""
        for instant in received:
            self._count += 1  # keeps the order of messages with equal receive times
            heappush(self._queued, (instant, self._count, self._topics[topic], data))

    def _writing(self) -> AbstractContextManager[None]:
        """Turn errors of the disk into a BagError of one line."""
        return writing(self.path, sqlite3.Error, WriterError)

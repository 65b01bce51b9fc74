# SPDX-License-Identifier: Apache-2.0
"""Write frames and actions as a rosbag2, with the topics and message types of a robot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from pathlib import Path
import sqlite3
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import cv2
import numpy as np
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
from smwm_ros.bags.blank import jazzy, make_room, new_message
from smwm_ros.config import CAMERA_FRAME, Robot
from smwm_ros.core.actions import action_spec, FieldCodec
from smwm_ros.core.interfaces import ActionSpec, Array, Frame
from smwm_ros.errors import BagError
from smwm_ros.fieldpath import expand

COMMAND_DELAY = 1_000_000  # a command follows the frame that it answers after this [ns]
PARTIAL = '.recording-'  # begins the hidden folder in which a bag is being written
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
        self.path = path
        self._robot = robot
        self._storage = StoragePlugin[storage.upper()]
        self._store = jazzy()
        spec, fields = action_spec(robot), expand(robot.state.fields)
        self._command = FieldCodec(spec)
        self._state = FieldCodec(ActionSpec(fields, (), (), robot.dt))
        self._image_message = new_message(self._store, robot.camera.type)
        self._command_message = new_message(self._store, robot.command.type)
        self._state_message = new_message(self._store, robot.state.type)
        make_room(self._store, self._command_message, spec.fields)
        make_room(self._store, self._state_message, fields)
        # A field that the message lacks is an error now, not in the middle of a recording.
        self._command.decode(np.zeros(spec.size), self._command_message)
        self._state.decode(np.zeros(self._state.spec.size), self._state_message)
        self._topics: dict[str, Connection] = {}
        self._waiting: list[tuple[int, int, Connection, Any]] = []  # a heap by time of receipt
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
            self._bag.path.rename(self.path)

    def write(self, frame: Frame, action: Array | None, stamp: int) -> None:
        """Write what was seen and measured at a stamp [ns], and what was commanded upon it."""
        self.see(frame.pixels, stamp, [stamp])
        self.measure(frame.state, stamp, [stamp])
        if action is not None:
            self.command(action, stamp + COMMAND_DELAY, [stamp + COMMAND_DELAY])
        self.flush(stamp)

    def see(self, rgb: Array, stamp: int, received: Sequence[int]) -> None:
        """Write pixels (H, W, 3) with a stamp in the header, once for each receipt [ns]."""
        self._fill_image(rgb)
        self._keep(self._robot.camera.topic, self._image_message, CAMERA_FRAME, stamp, received)

    def measure(self, state: Array, stamp: int, received: Sequence[int]) -> None:
        """Write a measured state (P,), if the robot has a topic for it."""
        topic = self._robot.state
        if topic.topic:
            self._state.decode(state, self._state_message)
            self._keep(topic.topic, self._state_message, topic.frame_id, stamp, received)

    def command(self, action: Array, stamp: int, received: Sequence[int]) -> None:
        """Write a raw action (A,)."""
        topic = self._robot.command
        self._command.decode(action, self._command_message)
        self._keep(topic.topic, self._command_message, topic.frame_id, stamp, received)

    def note(self, topic: str, text: str, received: int) -> None:
        """Write a text about the recording on a String topic."""
        message = new_message(self._store, 'std_msgs/msg/String')
        message.data = text
        if topic not in self._topics:
            with self._writing():
                self._connect(topic, 'std_msgs/msg/String')
        self._keep(topic, message, '', 0, [received])

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

    def _keep(
        self, topic: str, msg: Any, frame_id: str, stamp: int, received: Sequence[int]
    ) -> None:
        """Stamp a message, and keep its bytes until they are flushed."""
        if hasattr(msg, 'header'):
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
            msg.header.frame_id = frame_id
        connection = self._topics[topic]
        data = self._store.serialize_cdr(msg, connection.msgtype)
        for instant in received:
            self._count += 1  # of what is received at the same time, the first comes first
            heappush(self._waiting, (instant, self._count, connection, data))

    def _fill_image(self, rgb: Array) -> None:
        """Put pixels (H, W, 3) into the camera message."""
        msg = self._image_message
        if hasattr(msg, 'format'):  # CompressedImage; PNG loses nothing
            msg.format = 'png'
            msg.data = cv2.imencode('.png', rgb[:, :, ::-1])[1].reshape(-1)
            return
        msg.height, msg.width = rgb.shape[:2]
        msg.encoding, msg.step = 'rgb8', 3 * rgb.shape[1]
        msg.data = rgb.reshape(-1)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what a full or forbidden disk raises into one line."""
        try:
            yield
        except (OSError, sqlite3.Error, WriterError) as error:
            reason = getattr(error, 'strerror', None) or str(error)
            raise BagError(f'{self.path}: cannot be written: {reason}') from error

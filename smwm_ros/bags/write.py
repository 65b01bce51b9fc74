# SPDX-License-Identifier: Apache-2.0
"""Write frames and actions as a rosbag2, with the topics and message types of a robot."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Connection, Nodetype
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores
from rosbags.typesys.store import Typestore
from smwm_ros.config import BODY_FRAME, CAMERA_FRAME, Robot, STATE_FRAME
from smwm_ros.core.actions import action_spec, FieldCodec
from smwm_ros.core.interfaces import ActionSpec, Array, Frame
from smwm_ros.errors import BagError, did_you_mean
from smwm_ros.fieldpath import expand

PARTIAL = '.recording-'  # begins the hidden folder in which a bag is being written
COMMAND_DELAY = 1_000_000  # a command follows the frame that it answers after this [ns]


class BagWriter:
    """
    One rosbag2 in mcap, compressed by chunks.

    Use it as a context manager: the bag is written in a hidden folder and appears under its name
    when it is whole, so nothing half-written is ever found there.
    """

    def __init__(self, path: Path, robot: Robot) -> None:
        if len(robot.camera.topics) > 1:
            raise BagError(f'{path}: cannot be written: robot.camera.others asks for more cameras')
        self.path = path
        self._robot = robot
        self._store = _typestore()
        spec = action_spec(robot)
        self._command = FieldCodec(spec)
        self._state = FieldCodec(ActionSpec(expand(robot.state.fields), (), (), robot.dt))
        self._image_message = new_message(self._store, robot.camera.type)
        self._command_message = new_message(self._store, robot.command.type)
        self._state_message = new_message(self._store, robot.state.type)
        # A field that the message lacks is an error now, not in the middle of a recording.
        self._command.decode(np.zeros(spec.size), self._command_message)
        self._state.decode(np.zeros(self._state.spec.size), self._state_message)

    def __enter__(self) -> BagWriter:
        """Open the bag."""
        if self.path.exists():
            raise BagError(f'{self.path}: exists already; remove it or choose another path')
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = TemporaryDirectory(prefix=PARTIAL, dir=self.path.parent)
        self._bag = Writer(
            Path(self._folder.name) / self.path.name,  # mcap is named after its folder
            version=9,  # as ROS 2 Jazzy writes it
            storage_plugin=StoragePlugin.MCAP,
        )
        self._bag.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._bag.open()
        robot = self._robot
        self._camera_topic = self._connect(robot.camera.topic, robot.camera.type)
        self._command_topic = self._connect(robot.command.topic, robot.command.type)
        if robot.state.topic:
            self._state_topic = self._connect(robot.state.topic, robot.state.type)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the bag under its name, or leave nothing behind after an error."""
        with self._folder:
            if kind is not None:
                self._bag.abort()
                return
            self._bag.close()
            self._bag.path.rename(self.path)

    def write(self, frame: Frame, action: Array | None, stamp: int) -> None:
        """Write what was seen and measured at a stamp [ns], and what was commanded upon it."""
        self._fill_image(frame.pixels)
        self._send(self._camera_topic, self._image_message, CAMERA_FRAME, stamp)
        if self._robot.state.topic:
            self._state.decode(frame.state, self._state_message)
            self._send(self._state_topic, self._state_message, STATE_FRAME, stamp)
        if action is not None:
            frame_id = self._robot.command.frame_id
            self._command.decode(action, self._command_message)
            self._send(self._command_topic, self._command_message, frame_id, stamp + COMMAND_DELAY)

    def _connect(self, topic: str, kind: str) -> Connection:
        """Declare a topic."""
        return self._bag.add_connection(topic, kind, typestore=self._store)

    def _send(self, connection: Connection, msg: Any, frame_id: str, stamp: int) -> None:
        """Stamp a message and write it as received at once."""
        if hasattr(msg, 'header'):
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
            msg.header.frame_id = frame_id
        data = self._store.serialize_cdr(msg, connection.msgtype)
        self._bag.write(connection, stamp, data)

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


@cache
def _typestore() -> Typestore:
    """Return the message types of ROS 2 Jazzy; what serialises them is compiled but once."""
    return get_typestore(Stores.ROS2_JAZZY)


def new_message(store: Typestore, kind: str) -> Any:
    """Make a message of zeros and empty texts, whatever its type."""
    if kind not in store.fielddefs:
        known = [name for name in store.fielddefs if name.split('/')[0] == kind.split('/')[0]]
        raise BagError(
            f"'{kind}': no such message type in ROS 2 Jazzy; {did_you_mean(kind, known)}"
        )
    values = {name: _default(store, field) for name, field in store.fielddefs[kind][1]}
    if kind == 'geometry_msgs/msg/Quaternion':
        values['w'] = 1.0  # four zeros are no rotation
    if kind == 'nav_msgs/msg/Odometry':
        values['child_frame_id'] = BODY_FRAME
    return store.types[kind](**values)


def _default(store: Typestore, field: Any) -> Any:
    """Return the zero of one field, as rosbags describes fields."""
    nodetype, detail = field
    if nodetype == Nodetype.NAME:
        return new_message(store, detail)
    if nodetype == Nodetype.BASE:
        return '' if detail[0] == 'string' else _dtype(detail[0]).type().item()
    element, count = detail
    length = count if nodetype == Nodetype.ARRAY else 0
    if element[0] == Nodetype.BASE and element[1][0] != 'string':
        return np.zeros(length, _dtype(element[1][0]))
    return [_default(store, element) for _ in range(length)]


def _dtype(base: str) -> np.dtype[Any]:
    """Return the numpy type of a base type."""
    return np.dtype('uint8' if base == 'char' else base)

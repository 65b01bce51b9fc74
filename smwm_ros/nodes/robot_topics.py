# SPDX-License-Identifier: Apache-2.0
"""The topics of a robot for an arena: commands in, images and measured states out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from smwm_ros import config
from smwm_ros.codec.fields import action_spec, FieldCodec
from smwm_ros.codec.images import fill_image
from smwm_ros.config import BODY_FRAME, CAMERA_FRAME
from smwm_ros.errors import CodecError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import ActionSpec, Array, Frame
from smwm_ros.nodes.messages import blank_message, message_class

RELIABLE = QoSProfile(depth=5)  # heard by best-effort and by reliable subscribers


class Command:
    """The latest command: what it says, and when it was heard."""

    def __init__(self, codec: FieldCodec, timeout: float) -> None:
        self._codec = codec
        self._timeout = timeout
        self._action: Array | None = None
        self._heard = 0.0

    def hear(self, message: Any, now: float) -> None:
        """Keep a command as far as the robot can follow it, or refuse one that is no number."""
        action = self._codec.encode(message)
        if not np.isfinite(action).all():
            raise CodecError(f'expected finite numbers, found {action.tolist()}')
        self._action, self._heard = self._codec.spec.clip(action), now

    def current(self, now: float) -> Array | None:
        """Return the latest command (A,), or None when it is too old to be obeyed."""
        fresh = now - self._heard <= self._timeout
        return self._action if fresh else None

    def forget(self) -> None:
        """Obey nothing that was heard so far."""
        self._action = None


class RobotTopics:
    """The topics of a robot."""

    def __init__(self, node: Node, robot: config.Robot, heard: Callable[[Any], None]) -> None:
        self._image = message_class(robot.camera.type)()
        self._camera = node.create_publisher(type(self._image), robot.camera.topic, RELIABLE)
        self._measured = None
        self._state_frame = robot.state.frame_id
        if robot.state.topic:
            fields = expand(robot.state.fields)
            self._state = blank_message(message_class(robot.state.type), fields, robot.dt)
            if hasattr(self._state, 'child_frame_id'):
                self._state.child_frame_id = BODY_FRAME
            self._codec = FieldCodec(ActionSpec(fields, (), (), robot.dt))
            self._codec.decode(np.zeros(len(fields)), self._state)  # a wrong field is seen now
            kind = type(self._state)
            self._measured = node.create_publisher(kind, robot.state.topic, RELIABLE)
        spec, command = action_spec(robot), robot.command
        kind = message_class(command.type)
        self.codec = FieldCodec(spec)
        self.codec.decode(np.zeros(spec.size), blank_message(kind, spec.fields, robot.dt))
        node.create_subscription(kind, command.topic, heard, RELIABLE)

    def show(self, frame: Frame, stamp: Any) -> None:
        """Publish what the camera sees and what is measured."""
        self._camera.publish(stamped(fill_image(self._image, frame.pixels), CAMERA_FRAME, stamp))
        if self._measured is not None:
            self._codec.decode(frame.state, self._state)
            self._measured.publish(stamped(self._state, self._state_frame, stamp))


def stamped(message: Any, frame_id: str, stamp: Any) -> Any:
    """Fill the header, where there is one."""
    if hasattr(message, 'header'):
        message.header.stamp, message.header.frame_id = stamp, frame_id
    return message

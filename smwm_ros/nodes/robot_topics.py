# SPDX-License-Identifier: Apache-2.0
"""The topics of a simulated robot: subscribe to commands, publish images and measured states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from smwm_ros import config
from smwm_ros.codec.fields import action_spec, FieldCodec
from smwm_ros.codec.images import fill_image, require_writable
from smwm_ros.config import BODY_FRAME, CAMERA_FRAME
from smwm_ros.errors import CodecError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import ActionSpec, Array, Frame
from smwm_ros.nodes.messages import blank_message, message_class

RELIABLE = QoSProfile(depth=5)  # compatible with best-effort and reliable subscribers


class LastCommand:
    """The last command that was received, valid until its timeout."""

    def __init__(self, codec: FieldCodec, timeout: float) -> None:
        self._codec = codec
        self._timeout = timeout
        self._action: Array | None = None
        self._received = 0.0  # time [s]
        self.count = self.refused = 0  # commands

    def update(self, message: Any, now: float) -> None:
        """Store a command, clipped to the limits, or raise if it is not valid."""
        try:
            action = self._codec.encode(message)
            if not np.isfinite(action).all():
                raise CodecError(f'{action.tolist()}, expected finite numbers')
        except CodecError:
            self.refused += 1
            raise
        self._action, self._received = self._codec.spec.clip(action), now
        self.count += 1

    def current(self, now: float) -> Array | None:
        """Return the last command (A,), or None if it is too old."""
        fresh = now - self._received <= self._timeout
        return self._action if fresh else None

    def forget(self) -> None:
        """Drop the last command."""
        self._action = None


class RobotTopics:
    """Publishes images and measured states, and subscribes to commands."""

    def __init__(self, node: Node, robot: config.Robot, on_command: Callable[[Any], None]) -> None:
        require_writable(robot.camera.type)
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
            self._codec.decode(np.zeros(len(fields)), self._state)  # raise now for a wrong field
            kind = type(self._state)
            self._measured = node.create_publisher(kind, robot.state.topic, RELIABLE)
        spec, command = action_spec(robot), robot.command
        kind = message_class(command.type)
        self.codec = FieldCodec(spec)
        self.codec.decode(np.zeros(spec.size), blank_message(kind, spec.fields, robot.dt))
        node.create_subscription(kind, command.topic, on_command, RELIABLE)

    def publish(self, frame: Frame, stamp: Any) -> None:
        """Publish the camera image and the measured state."""
        self._camera.publish(stamped(fill_image(self._image, frame.pixels), CAMERA_FRAME, stamp))
        if self._measured is not None:
            self._codec.decode(frame.state, self._state)
            self._measured.publish(stamped(self._state, self._state_frame, stamp))


def stamped(message: Any, frame_id: str, stamp: Any) -> Any:
    """Set stamp and frame of a message, if it has a header; return it."""
    if hasattr(message, 'header'):
        message.header.stamp, message.header.frame_id = stamp, frame_id
    return message

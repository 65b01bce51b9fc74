# SPDX-License-Identifier: Apache-2.0
"""
The peer of bench/node.py: a node that plans in a timer callback.

One executor runs one timer at the control rate. The callback converts the newest image, plans with
the same pilot as our node, and publishes the first action.
"""

from __future__ import annotations

import sys

from geometry_msgs.msg import TwistStamped
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from smwm_ros.codec.images import read_image
from smwm_ros.model.checkpoint import load
from smwm_ros.planning.pilot import Pilot
import torch


class NaiveNode(Node):  # type: ignore[misc]  # rclpy has no complete types
    """Plans in a timer callback."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__('naive')
        torch.set_num_threads(1)
        made = load(checkpoint)
        self.size, self.resize = made.image_size, made.dataset.resize
        self.decoder = made.robot.camera.decoder
        self.pilot = Pilot(made)
        self.pilot.warm_up()
        self.pilot.set_goal(np.zeros((self.size, self.size, 3), np.uint8))
        self.image: Image | None = None
        self.commands = self.create_publisher(TwistStamped, '/cmd_vel', 1)
        self.create_subscription(
            Image, '/camera/image_raw', self.on_image, qos_profile_sensor_data
        )
        self.create_timer(made.robot.dt, self.on_tick)

    def on_image(self, message: Image) -> None:
        """Keep the newest image."""
        self.image = message

    def on_tick(self) -> None:
        """Plan, and publish the first action."""
        if self.image is None:
            return
        pixels = read_image(self.image, self.size, self.resize, self.decoder)
        action = self.pilot.plan(pixels, 1).actions[0]
        command = TwistStamped()
        command.header.stamp = self.get_clock().now().to_msg()
        command.twist.linear.x, command.twist.linear.y = float(action[0]), float(action[1])
        self.commands.publish(command)


if __name__ == '__main__':
    with rclpy.init():
        rclpy.spin(NaiveNode(sys.argv[1]))

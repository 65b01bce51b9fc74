# SPDX-License-Identifier: Apache-2.0
"""Publish and log why the robot moves, or why it does not, whenever the reason changes."""

from __future__ import annotations

import time

from rclpy.node import Node
from smwm_ros.control.reasons import Reason
from smwm_ros.nodes.messages import LATCHED
from smwm_ros.nodes.reason_log import ReasonLog
from std_msgs.msg import String


class StatusPublisher:
    """Publishes the reason on ~/status, and logs it."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(String, '~/status', LATCHED)
        self._log = ReasonLog(node.get_logger().info, node.get_logger().warning)
        self.reason = Reason.UNCONFIGURED
        self._publisher.publish(String(data=self.reason.value))

    def set(self, reason: Reason) -> None:
        """Publish and log the reason if it changed."""
        if reason is not self.reason:
            self.reason = reason
            self._publisher.publish(String(data=reason.value))
            self._log.update(reason, time.monotonic())

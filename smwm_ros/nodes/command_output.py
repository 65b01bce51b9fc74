# SPDX-License-Identifier: Apache-2.0
"""What the robot is told: commands on its topic, beside it in the shadow, or none in a dry run."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from smwm_ros.interfaces import Array
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.shadow import Shadow

_ACK = Duration(seconds=0.2)  # the last stop command may take so long to be heard


class CommandOutput:
    """Publishes commands, and lets others know what the robot was told."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        commands: Publisher | None,  # None in a dry run
        shadow: Shadow | None,  # who hears what the robot is really told
        note: Callable[[Array], None],  # who keeps record of that
    ) -> None:
        self._node, self.setup = node, setup
        self.commands, self._shadow, self._note = commands, shadow, note

    def say(self, action: Array) -> None:
        """Publish one command."""
        if self.commands is None:
            return
        message = self.setup.command(action)
        if hasattr(message, 'header'):
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.header.frame_id = self.setup.robot.command.frame_id
        self.commands.publish(message)
        if self._shadow is None:
            self._note(action)
        else:
            self._shadow.compare(action)

    def say_last(self, action: Array) -> None:
        """Publish the last command of all, and wait until it is heard."""
        self.say(action)
        if self.commands is not None:
            self.commands.wait_for_all_acked(_ACK)

    def is_contested(self) -> bool:
        """Say whether another node publishes commands on our topic."""
        if self.commands is None:
            return False
        topic = self.setup.robot.command.topic
        return self._shadow is None and bool(self._node.count_publishers(topic) > 1)

    def values(self) -> dict[str, float | bool]:
        """Return what diagnostics tell of it."""
        told: dict[str, float | bool] = {'dry_run': self.commands is None}
        return told if self._shadow is None else {**told, **self._shadow.values()}

# SPDX-License-Identifier: Apache-2.0
"""Publish commands: on the robot's topic, on the shadow topic, or not at all in a dry run."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from smwm_ros.interfaces import Array
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.shadow import Shadow

LOW, HIGH = 'low_', 'high_'  # of the limits in /diagnostics, before the field
_ACK = Duration(seconds=0.2)  # longest wait until the last stop command is acknowledged


class CommandOutput:
    """Publishes commands, and records them or compares them with those of another driver."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        publisher: Publisher | None,  # None in a dry run
        shadow: Shadow | None,
        record: Callable[[Array], None],
    ) -> None:
        self._node, self.setup = node, setup
        self.publisher, self._shadow, self._record = publisher, shadow, record

    def publish(self, action: Array) -> None:
        """Publish one action (A,) as a command."""
        if self.publisher is None:
            return
        message = self.setup.command(action)
        if hasattr(message, 'header'):
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.header.frame_id = self.setup.robot.command.frame_id
        self.publisher.publish(message)
        if self._shadow is None:
            self._record(action)
        else:
            self._shadow.compare(action)

    def publish_last(self, action: Array) -> None:
        """Publish the last command, and wait until subscribers acknowledge it."""
        self.publish(action)
        if self.publisher is not None:
            self.publisher.wait_for_all_acked(_ACK)

    def close(self) -> None:
        """Log what a shadow has found."""
        if self._shadow is not None:
            self._shadow.close()

    def destroy(self) -> None:
        """Destroy what the shadow subscribes to and publishes; only from the executor's thread."""
        if self._shadow is not None:
            self._shadow.destroy()

    def values(self) -> dict[str, float | bool]:
        """Return the values for /diagnostics."""
        spec = self.setup.codec.spec
        values: dict[str, float | bool] = {'dry_run': self.publisher is None}
        for prefix, limits in ((LOW, spec.low), (HIGH, spec.high)):
            named = zip(spec.fields, limits, strict=True)
            values |= {f'{prefix}{field}': float(limit) for field, limit in named}
        return values if self._shadow is None else {**values, **self._shadow.values()}

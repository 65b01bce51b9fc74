# SPDX-License-Identifier: Apache-2.0
"""Shadow mode: compare this node's commands with those of the driver that moves the robot."""

from __future__ import annotations

from collections.abc import Callable
import json

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message
from smwm_ros.evaluation.agreement import Agreement
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.robot_topics import RELIABLE
from smwm_ros.nodes.subscriber import COMMAND_BYTES
from smwm_ros.text import count_of, line
from std_msgs.msg import String

TOPIC = '~/shadow/command'


class Shadow:
    """Subscribes to the commands of the other driver, which the robot follows."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        clock: WallClock | RosClock,
        record: Callable[[Array], None],  # of the commands that the robot follows
        warn: Callable[[str], None],
    ) -> None:
        self._node, self._codec, self._clock = node, setup.codec, clock
        self._record, self._warn = record, warn
        self._hold = setup.checkpoint.dataset.hold  # a command is valid this long, as trained [s]
        self._theirs: tuple[float, Array] | None = None  # receive time [s] and action (A,)
        self.agreement = Agreement(setup.codec.spec)
        self._publisher = node.create_publisher(String, '~/shadow/agreement', 10)
        self._type, topic = setup.command_type, setup.robot.command.topic
        self._subscription = node.create_subscription(
            self._type, topic, self._on_command, RELIABLE, raw=True
        )

    def compare(self, ours: Array) -> None:
        """Compare an action (A,) of this node with the other driver's command."""
        theirs = self._theirs
        if theirs is None or self._clock.now() - theirs[0] > self._hold:
            return
        difference = round(self.agreement.add(ours, theirs[1]), 4)
        data = {'ours': ours.tolist(), 'theirs': theirs[1].tolist(), 'difference': difference}
        self._publisher.publish(String(data=json.dumps(data)))

    def values(self) -> dict[str, float]:
        """Return the values for /diagnostics."""
        figures = self.agreement.figures()
        names = ('compared', 'close', 'direction', 'difference')
        return {f'shadow_{name}': figures[name] for name in names}

    def close(self) -> None:
        """Log the result."""
        self._node.get_logger().info(line(f'shadow: {_summary(self.agreement.figures())}'))

    def destroy(self) -> None:
        """Destroy subscription and publisher; only from the executor's thread."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def _on_command(self, data: bytes) -> None:
        """Store a command of the other driver."""
        try:
            if len(data) > COMMAND_BYTES:
                raise ValueError(f'{len(data)} bytes, expected at most {COMMAND_BYTES}')
            action = self._codec.encode(deserialize_message(data, self._type))
            if not np.isfinite(action).all():
                raise ValueError(f'{action.tolist()}, expected finite numbers')
        except Exception as error:  # no received message may end the node
            self._warn(f'command of the other driver not used: {error}')
            return
        self._theirs = self._clock.now(), action
        self._record(action)


def _summary(figures: dict[str, float]) -> str:
    """Return how far both drivers agree."""
    if not figures['compared']:
        return 'no other driver commanded the robot'
    return (
        f'{count_of(round(figures["compared"]), "command")} compared, {figures["close"]:.0%} '
        f'close, cosine of the directions {figures["direction"]:.2f}, difference '
        f'{figures["difference"]:.0%} of the range'
    )

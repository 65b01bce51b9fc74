# SPDX-License-Identifier: Apache-2.0
"""Drive beside somebody else: hear what the robot is told, and compare what we would have told."""

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
    """Hears the other driver; its commands are what the robot really does."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        clock: WallClock | RosClock,
        note: Callable[[Array], None],  # who keeps record of what the robot is told
        complain: Callable[[str], None],
    ) -> None:
        self._node, self._codec, self._clock = node, setup.codec, clock
        self._note, self._complain = note, complain
        self._hold = setup.checkpoint.dataset.hold  # a command counts this long [s], as trained
        self._heard: tuple[float, Array] | None = None
        self.agreement = Agreement(setup.codec.spec)
        self._told = node.create_publisher(String, '~/shadow/agreement', 10)
        kind, topic = setup.command_type, setup.robot.command.topic
        self._kind = kind
        self._ear = node.create_subscription(kind, topic, self._hear, RELIABLE, raw=True)

    def compare(self, ours: Array) -> None:
        """Compare a command of ours with the one that is in force."""
        heard = self._heard
        if heard is None or self._clock.now() - heard[0] > self._hold:
            return
        apart = self.agreement.add(ours, heard[1])
        told = {'ours': ours.tolist(), 'theirs': heard[1].tolist(), 'difference': round(apart, 4)}
        self._told.publish(String(data=json.dumps(told)))

    def values(self) -> dict[str, float]:
        """Return what diagnostics tell of it."""
        figures = self.agreement.figures()
        names = ('compared', 'close', 'direction', 'difference')
        return {f'shadow_{name}': figures[name] for name in names}

    def close(self) -> None:
        """Give subscription and publisher back; only from the executor's thread."""
        self._node.get_logger().info(line(f'shadow: {_in_words(self.agreement.figures())}'))
        self._node.destroy_subscription(self._ear)
        self._node.destroy_publisher(self._told)

    def _hear(self, data: bytes) -> None:
        """Take a command of the other driver."""
        try:
            if len(data) > COMMAND_BYTES:
                raise ValueError(f'{len(data)} bytes; expected at most {COMMAND_BYTES}')
            action = self._codec.encode(deserialize_message(data, self._kind))
            if not np.isfinite(action).all():
                raise ValueError(f'expected finite numbers, found {action.tolist()}')
        except Exception as error:  # no message from outside may end the node
            self._complain(f'command of the other driver not used: {error}')
            return
        self._heard = self._clock.now(), action
        self._note(action)


def _in_words(figures: dict[str, float]) -> str:
    """Say how far both agree."""
    if not figures['compared']:
        return 'nobody else commanded the robot'
    return (
        f'{count_of(round(figures["compared"]), "command")} compared, {figures["close"]:.0%} '
        f'close, cosine of the directions {figures["direction"]:.2f}, difference '
        f'{figures["difference"]:.0%} of the range'
    )

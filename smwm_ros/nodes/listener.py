# SPDX-License-Identifier: Apache-2.0
"""Receive the serialised messages of a running robot for some seconds, and publish nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
import time
from typing import Any, NamedTuple

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from smwm_ros.config import Robot
from smwm_ros.nodes.connection import Connection
from smwm_ros.nodes.messages import COMMAND, message_class
from smwm_ros.nodes.topic_monitor import published_camera

_DISCOVERY = 3.0  # longest wait for the cameras to be discovered [s]
_DEPTH = 100  # messages that wait to be read
# Receives from every publisher; the driver, not this program, decides on the QoS of commands.
_ANY = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
OnMessage = Callable[[str, bytes, int], None]  # topic, data, receive time [ns]


class Endpoint(NamedTuple):
    """A publisher or a subscriber of another node."""

    node: str
    type: str
    unfit: str  # why its QoS does not fit that of the plan node, else ''


class RobotGraph(NamedTuple):
    """The topics of a robot, and the nodes on those that the plan node uses."""

    published: dict[str, list[str]]  # topics with a publisher, and their types
    heard: dict[str, list[str]]  # other topics with a subscriber, and their types
    publishers: dict[str, list[Endpoint]]  # of each topic of the configuration
    drivers: list[Endpoint]  # subscribers of the command topic


class Listener:
    """Subscribes to cameras and commands as the plan node does; use it in a `with` block."""

    def __init__(self, robot: Robot, reliability: str) -> None:
        self._robot = robot  # with absolute topic names
        # Only the depth differs from the plan node, which reads the newest image alone.
        self._qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy[reliability.upper()])

    def __enter__(self) -> Listener:
        """Create a ROS node."""
        self._connection = Connection('')
        return self

    def __exit__(self, *_: object) -> None:
        """Destroy the ROS node."""
        self._connection.close()

    def find_cameras(self) -> Robot:
        """Wait for the cameras, and return the robot with their topics as they are published."""
        node, camera = self._connection.node, self._robot.camera
        self._connection.wait(lambda: all(map(node.count_publishers, camera.topics)), _DISCOVERY)
        self._robot = replace(self._robot, camera=published_camera(node, camera))
        return self._robot

    def listen(
        self, seconds: int, on_message: OnMessage, advance: Callable[[int], object]
    ) -> RobotGraph:
        """Receive for some seconds, and report each of them; return the topics then."""
        connection, robot = self._connection, self._robot
        kinds = dict.fromkeys(robot.camera.topics, robot.camera.type)
        kinds[robot.command.topic] = robot.command.type
        qos = {**dict.fromkeys(robot.camera.topics, self._qos), robot.command.topic: _ANY}
        for topic, kind in kinds.items():
            connection.subscribe(
                message_class(kind),
                topic,
                _reader(topic, on_message),
                qos[topic],
                raw=True,
            )
        for _ in range(seconds):
            connection.wait(lambda: False, 1.0)
            advance(1)
        return self._graph(qos)

    def _graph(self, topics: Mapping[str, QoSProfile]) -> RobotGraph:
        """Return the topics and nodes that were discovered."""
        node, command = self._connection.node, self._robot.command.topic
        names, count = dict(node.get_topic_names_and_types()), node.count_publishers
        publishers = {
            topic: [
                Endpoint(_name(info), info.topic_type, _mismatch(info.qos_profile, qos))
                for info in node.get_publishers_info_by_topic(topic)
            ]
            for topic, qos in topics.items()
        }
        drivers = [
            Endpoint(_name(info), info.topic_type, _mismatch(COMMAND, info.qos_profile))
            for info in node.get_subscriptions_info_by_topic(command)
            if info.node_name != node.get_name()
        ]
        # Of the topics that this node subscribes to, its own types do not count.
        others = {topic: kinds for topic, kinds in names.items() if topic not in topics}
        own = {topic: sorted({one.type for one in ends}) for topic, ends in publishers.items()}
        published = {topic: kinds for topic, kinds in others.items() if count(topic)}
        published |= {topic: kinds for topic, kinds in own.items() if kinds}
        heard = {name: kinds for name, kinds in others.items() if node.count_subscribers(name)}
        return RobotGraph(published, heard, publishers, drivers)


def _reader(topic: str, on_message: OnMessage) -> Callable[[bytes], None]:
    """Return a callback that notes the receive time of each message."""

    def read(data: bytes) -> None:
        on_message(topic, data, time.time_ns())

    return read


def _mismatch(offered: QoSProfile, requested: QoSProfile) -> str:
    """Return why a publisher does not reach a subscriber, else ''; nodes here set no deadlines."""
    reliable, latched = ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL
    if requested.reliability == reliable != offered.reliability:
        return 'published best effort, but subscribed reliable'
    if requested.durability == latched != offered.durability:
        return 'published volatile, but subscribed transient local'
    return ''


def _name(info: Any) -> str:
    """Return the full name of a node."""
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'

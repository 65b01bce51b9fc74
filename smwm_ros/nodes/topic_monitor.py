# SPDX-License-Identifier: Apache-2.0
"""Find other nodes on this node's topics that do not fit: another type, a second commander."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from rclpy.node import Node
from smwm_ros.codec.transport import as_published, other_transport, transport_hint
from smwm_ros.config import Camera
from smwm_ros.nodes.connection import PREFIX

_CERTAIN = 2  # looks in a row, since the publishers of one node are discovered one by one


class TopicType(NamedTuple):
    """A topic of this node, and its message type."""

    topic: str  # before remapping
    type: str  # geometry_msgs/msg/Twist
    remedy: str  # when another node uses another type
    camera: bool = False  # whose images may come compressed, on another topic


class TopicMonitor:
    """Compares the topics of this node with those of the other nodes."""

    def __init__(
        self,
        node: Node,
        subscribed: Callable[[], Sequence[TopicType]],  # they may change
        commands: TopicType | None,  # None in a dry run
        exclusive: bool,  # no other node may publish commands; False in the shadow
    ) -> None:
        self._node, self._subscribed = node, subscribed
        self._commands, self._exclusive = commands, exclusive

    def is_contested(self) -> bool:
        """Return whether another node publishes on the command topic."""
        if self._commands is None or not self._exclusive:
            return False
        return bool(self._node.count_publishers(self._commands.topic) > 1)

    def problems(self) -> list[str]:
        """Return a warning for each other node whose type differs, and for missing subscribers."""
        found = [text for topic in self._subscribed() for text in self._publisher_problems(topic)]
        if self._commands is not None:
            found += self._subscriber_problems(self._commands)
        return found

    def _publisher_problems(self, expected: TopicType) -> Iterator[str]:
        """Name the publishers of another type on a topic that this node subscribes to."""
        infos = self._node.get_publishers_info_by_topic(expected.topic)
        if expected.camera and not infos:
            yield from self._transport_problem(expected)
        for info in infos:
            if info.topic_type != expected.type:
                yield (
                    f'{self._node.resolve_topic_name(expected.topic)}: {_name(info)} publishes '
                    f'{info.topic_type}, but this node subscribes to {expected.type}; '
                    f'{expected.remedy}'
                )

    def _transport_problem(self, expected: TopicType) -> Iterator[str]:
        """Say that a topic without publishers has one for the same images, compressed or raw."""
        name = self._node.resolve_topic_name(expected.topic)
        other = other_transport(name, expected.type)
        infos = self._node.get_publishers_info_by_topic(other[0]) if other else []
        types = {other[0]: {info.topic_type for info in infos}} if other else {}
        if hint := transport_hint(name, expected.type, types):
            yield f'{name}: no publisher, but {hint}'

    def _subscriber_problems(self, commands: TopicType) -> Iterator[str]:
        """Name the subscribers of another type on the command topic, or that there is none."""
        name = self._node.resolve_topic_name(commands.topic)
        infos = self._node.get_subscriptions_info_by_topic(commands.topic)
        for info in infos:
            if info.topic_type != commands.type:
                yield (
                    f'{name}: {_name(info)} subscribes to {info.topic_type}, but this node '
                    f'publishes {commands.type}; {commands.remedy}'
                )
        # A viewer that shows the commands is no driver.
        drivers = [info for info in infos if not info.node_name.startswith(PREFIX)]
        if not any(info.topic_type == commands.type for info in drivers):
            yield (
                f'{name}: no subscriber for the commands; check that the robot driver runs and '
                'that this is its topic (robot.command.topic)'
            )


class TransportFinder:
    """Finds the topics on which the images of a camera come; it looks when it is called."""

    def __init__(self, node: Node, camera: Camera) -> None:
        self._node = node
        self.camera = camera  # with the topics that were found last
        self._elsewhere = 0  # looks in a row that found the other transport alone

    @property
    def undecided(self) -> bool:
        """Return whether the other transport alone was found, but not often enough yet."""
        return self._elsewhere > 0

    def update(self, received: bool, purpose: str) -> str:
        """
        Change to the other transport if it alone is published; return a message, or ''.

        Once an image was received, the transport stays: a driver that restarts changes nothing.
        """
        found = self.camera if received else published_camera(self._node, self.camera)
        self._elsewhere = 0 if found is self.camera else self._elsewhere + 1
        if self._elsewhere < _CERTAIN:
            return ''
        missing = ' '.join(map(self._node.resolve_topic_name, self.camera.topics))
        self.camera, self._elsewhere = found, 0
        used = ' '.join(found.topics)
        return f'{missing}: no publisher, so the images of {used} are {purpose} ({found.type})'


def published_camera(node: Node, camera: Camera) -> Camera:
    """Return the camera with the topics of the transport that is published, or as it is."""
    first, *others = map(node.resolve_topic_name, camera.topics)
    absolute = replace(camera, topic=first, others=' '.join(others))
    wanted = [(topic, camera.type) for topic in absolute.topics]
    wanted += [other for one in wanted if (other := other_transport(*one))]
    types = {
        topic: kind
        for topic, kind in wanted
        if any(one.topic_type == kind for one in node.get_publishers_info_by_topic(topic))
    }
    chosen = as_published(absolute, types)
    return camera if chosen is absolute else chosen


def _name(info: object) -> str:
    """Return the full name of a node."""
    namespace = getattr(info, 'node_namespace', '')
    return f'{namespace.rstrip("/")}/{getattr(info, "node_name", "")}'

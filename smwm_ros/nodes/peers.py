# SPDX-License-Identifier: Apache-2.0
"""Other nodes on our topics that cannot be heard, or cannot hear, for their type is another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rclpy.node import Node


class Wanted(NamedTuple):
    """A topic as this node knows it."""

    topic: str  # before remapping
    kind: str  # geometry_msgs/msg/Twist
    remedy: str  # where others have another type


def deaf_ears(node: Node, heard: list[Wanted]) -> Iterator[str]:
    """Name publishers on topics that we hear, of types that we do not."""
    for topic, kind, remedy in heard:
        for info in node.get_publishers_info_by_topic(topic):
            if info.topic_type != kind:
                yield (
                    f'{node.resolve_topic_name(topic)}: {_name(info)} publishes '
                    f'{info.topic_type}, and this node hears {kind}; {remedy}'
                )


def deaf_robot(node: Node, commands: Wanted) -> Iterator[str]:
    """Say when nobody hears the commands, or some node cannot."""
    topic, kind, remedy = commands
    name = node.resolve_topic_name(topic)
    infos = node.get_subscriptions_info_by_topic(topic)
    for info in infos:
        if info.topic_type != kind:
            yield (
                f'{name}: {_name(info)} hears {info.topic_type}, and this node publishes {kind}; '
                f'{remedy}'
            )
    if not any(info.topic_type == kind for info in infos):
        yield f'{name}: nobody hears the commands; is the robot on, and is this its topic?'


def _name(info: object) -> str:
    """Return the full name of a node."""
    namespace = getattr(info, 'node_namespace', '')
    return f'{namespace.rstrip("/")}/{getattr(info, "node_name", "")}'

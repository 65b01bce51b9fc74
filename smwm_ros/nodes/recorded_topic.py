# SPDX-License-Identifier: Apache-2.0
"""
The topics that are recorded: subscriptions, whose QoS follows the publishers, and rates.

Where only camera/image_raw/compressed is published, and not camera/image_raw, or the other way
round, it is recorded in its place (image_transport).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from smwm_ros.codec.transport import other_transport
from smwm_ros.config import Camera
from smwm_ros.errors import CodecError
from smwm_ros.nodes.messages import definitions, message_class
from smwm_ros.nodes.rclpy_versions import with_info
from smwm_ros.nodes.recorder_report import WINDOW
from smwm_ros.nodes.topic_monitor import TransportFinder

_DEPTH = 200  # messages that wait while the disk is busy
_KEPT = 10  # messages of a latched topic that begin every episode
OnMessage = Callable[['RecordedTopic', bytes, Mapping[str, Any]], None]


class RecordedTopic:
    """
    Subscribes to a topic as soon as it has a publisher, with the strictest QoS that fits all.

    kind: its message type, '' for that of the publisher; needed: the robot's configuration names
    it; expected: it is a fault if it has no publisher.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        kind: str,
        on_message: OnMessage,
        needed: bool = False,
        expected: bool = True,
    ) -> None:
        self.name = node.resolve_topic_name(name)
        # As in the configuration: in a namespace, its relative topics are stored without it.
        self.stored = f'/{name.lstrip("/")}'
        self.kind, self.needed, self.expected = kind, needed, expected
        self.texts: dict[str, str] = {}  # definitions of its message type
        self.publishers = 0
        self.flaw = ''  # why it cannot be recorded
        self.kept: deque[bytes] = deque(maxlen=_KEPT)  # if it is latched
        self._node, self._on_message = node, on_message
        self._subscription: Subscription | None = None
        self._qos: tuple[Any, Any] | None = None
        self.count = 0  # messages that were received
        self._counts: deque[tuple[float, int]] = deque(maxlen=WINDOW + 1)
        if kind:
            self.texts = definitions(kind)  # raises now for a type that is not installed

    def change_transport(self, name: str) -> None:
        """Subscribe to the topic of the other transport instead, which has this name."""
        other = other_transport(self.stored, self.kind)
        assert other is not None
        self.name, (self.stored, self.kind) = name, other
        self.texts, self._qos = definitions(self.kind), None

    @property
    def latched(self) -> bool:
        """Return whether its publishers repeat the last messages to later subscribers."""
        return self._qos is not None and self._qos[1] == DurabilityPolicy.TRANSIENT_LOCAL

    def update(self) -> None:
        """Look for publishers, and subscribe to them."""
        infos = self._node.get_publishers_info_by_topic(self.name)
        self.publishers = len(infos)
        if infos and not self.texts:
            kind = infos[0].topic_type
            try:
                self.texts = definitions(kind)
            except CodecError as error:
                self.flaw = f'{self.name}: cannot be recorded: {error}'
                return
            self.kind, self.flaw = kind, ''
        fitting = [info.qos_profile for info in infos if info.topic_type == self.kind]
        if fitting and (wanted := self._wanted(fitting)) != self._qos:
            self._subscribe(*wanted)

    def measure(self) -> None:
        """Note the number of messages for the rate; call it once a second."""
        self._counts.append((time.monotonic(), self.count))

    @property
    def rate(self) -> float | None:
        """Return the messages in a second, None before it was measured."""
        if len(self._counts) < 2:
            return None
        (begin, before), (end, now) = self._counts[0], self._counts[-1]
        return (now - before) / max(end - begin, 1e-9)

    def _wanted(self, offered: Sequence[QoSProfile]) -> tuple[Any, Any]:
        """Return reliability and durability that all publishers offer."""
        reliable, latched = ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL
        all_reliable = all(qos.reliability == reliable for qos in offered)
        # Old images and commands do not belong to an episode.
        all_latched = not self.needed and all(qos.durability == latched for qos in offered)
        return (
            reliable if all_reliable else ReliabilityPolicy.BEST_EFFORT,
            latched if all_latched else DurabilityPolicy.VOLATILE,
        )

    def _subscribe(self, reliability: Any, durability: Any) -> None:
        """Subscribe with a QoS, in place of an earlier subscription."""
        self.close()
        self._qos = reliability, durability
        self.kept.clear()
        qos = QoSProfile(depth=_DEPTH, reliability=reliability, durability=durability)
        self._subscription = self._node.create_subscription(
            message_class(self.kind), self.name, with_info(self._receive), qos, raw=True
        )

    def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _receive(self, data: bytes, info: Mapping[str, Any]) -> None:
        """Pass on a message, and keep it if the topic is latched."""
        self.count += 1
        if self.latched:
            self.kept.append(data)
        self._on_message(self, data, info)


class RecordedCameras:
    """
    The topics of a robot's cameras, which change their transport together.

    topics: all that are recorded, those of the cameras first.
    """

    def __init__(self, node: Node, camera: Camera, topics: list[RecordedTopic]) -> None:
        self._transport, self._all = TransportFinder(node, camera), topics
        self._topics = topics[: len(camera.topics)]

    @property
    def settled(self) -> list[RecordedTopic]:
        """Return the topics of which no change is near."""
        return [] if self._transport.undecided else self._topics

    def find_transport(self) -> str:
        """Change to the other transport if it alone is published; return a message, or ''."""
        received = any(topic.count for topic in self._topics)
        if not (text := self._transport.update(received, 'recorded')):
            return ''
        found = self._transport.camera.topics
        for topic in [one for one in self._all if one.name in found]:
            topic.close()  # else its messages would be written twice
            self._all.remove(topic)
        for topic, name in zip(self._topics, found, strict=True):
            topic.change_transport(name)
        return text

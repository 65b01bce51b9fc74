# SPDX-License-Identifier: Apache-2.0
"""
Receive what a plan node publishes and subscribes to, for a viewer; publish nothing, call nothing.

The topics are those that the ROS graph lists for the node, so camera and commands need no
configuration. Subscriptions are best effort where they can be: no publisher waits for them, and
the node does not wait for this program to acknowledge its last command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import logging
from typing import Any, NamedTuple

from rclpy.node import NodeNameNonExistentError
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from smwm_ros.config import IMAGE_TYPES
from smwm_ros.errors import CodecError
from smwm_ros.nodes.connection import Connection
from smwm_ros.nodes.inbox import Inbox, InboxTopic, ReceivedMessage
from smwm_ros.nodes.messages import camera_qos, LATCHED, message_class
from smwm_ros.nodes.rclpy_versions import SubscriptionEventCallbacks
from smwm_ros.nodes.subscriber import IMAGE_BYTES

_log = logging.getLogger(__name__)

CAMERA, COMMAND, GOAL = 'camera', 'command', 'goal'
GONE = 'gone'  # not a topic: the node is not there any more
_PERIOD, _PATIENCE = 0.5, 6.0  # of looks at the graph; until this program joins it anew [s]
_DEPTH = 100  # messages of a topic that wait; of images, one, and of video, PACKETS
_BEST_EFFORT = ReliabilityPolicy.BEST_EFFORT
# Topics below the node's name, and whether their last message is kept for later subscribers.
OWN = {
    'plan/image': False,
    'plan/markers': False,
    'stats': False,
    'status': True,
    'goal/accepted': True,
    'goal/reached': True,
}
SHARED = {'/diagnostics', '/rosout'}
_OTHERS = {'/parameter_events', '/clock'}


class WatchedTopic(NamedTuple):
    """A topic of the plan node."""

    name: str
    role: str  # CAMERA, COMMAND, GOAL, or a name of OWN or SHARED
    type: str
    latched: bool = False


class Watcher:
    """Follows a plan node through its restarts; use it in a `with` block."""

    def __init__(self, namespace: str, inbox: Inbox, name: str = 'plan') -> None:
        self._namespace, self._name = f'/{namespace.strip("/")}', name
        self.target = f'{self._namespace.rstrip("/")}/{name}'
        self._inbox = inbox
        self._present = False
        self._subscriptions: dict[WatchedTopic, list[Any]] = {}

    def __enter__(self) -> Watcher:
        """Create a ROS node."""
        self._join()
        return self

    def __exit__(self, *_: object) -> None:
        """Destroy the ROS node."""
        self._connection.close()

    def run(self, ended: Callable[[], bool]) -> None:
        """Put messages into the inbox until `ended`."""
        missing = 0.0
        while not ended():
            found = set(self._topics())
            if found:
                self._follow(found)
            missing = 0.0 if found else missing + _PERIOD
            if missing > _PATIENCE:  # see nodes/connection.py
                if not self._present:
                    _log.info('no node %s is found yet', self.target)
                    self._connection.close()
                    self._join()
                missing = 0.0
            if bool(found) != self._present:
                self._present = bool(found)
                _log.info('%s is %s', self.target, 'there' if found else 'gone')
                if not found:
                    now = self._now()
                    gone = InboxTopic(self.target, GONE)
                    self._inbox.put(ReceivedMessage(gone, 1, b'', now))
            self._connection.wait(ended, _PERIOD)

    def _join(self) -> None:
        """Join the ROS graph."""
        self._connection = Connection(self.target)
        self._subscriptions = {}
        self._present = False

    def _topics(self) -> Iterator[WatchedTopic]:
        """Yield the topics of the plan node; none while there is no such node."""
        node = self._connection.node
        try:
            published = node.get_publisher_names_and_types_by_node(self._name, self._namespace)
            received = node.get_subscriber_names_and_types_by_node(self._name, self._namespace)
        except NodeNameNonExistentError:
            return
        self._use_clock(any(topic == '/clock' for topic, _ in received))
        goal = f'{self._namespace.rstrip("/")}/goal/image'
        for topic, (kind, *_) in published:
            own = topic.removeprefix(f'{self.target}/')
            if own in OWN:
                yield WatchedTopic(topic, own, kind, OWN[own])
            elif topic in SHARED:
                yield WatchedTopic(topic, topic, kind)
            elif own == 'shadow/command' or own == topic not in _OTHERS:
                yield WatchedTopic(topic, COMMAND, kind)
        for topic, (kind, *_) in received:
            if kind in IMAGE_TYPES:
                yield WatchedTopic(topic, GOAL if topic == goal else CAMERA, kind)
                if topic == goal:
                    yield WatchedTopic(topic, GOAL, kind, latched=True)

    def _now(self) -> int:
        """Return the time of the plan node's clock [ns]."""
        return int(self._connection.node.get_clock().now().nanoseconds)

    def _use_clock(self, simulated: bool) -> None:
        """Use simulated time if the plan node does."""
        node = self._connection.node
        if node.get_parameter('use_sim_time').value != simulated:
            node.set_parameters([Parameter('use_sim_time', value=simulated)])

    def _follow(self, topics: set[WatchedTopic]) -> None:
        """Subscribe to topics, and to no others."""
        for topic in set(self._subscriptions) - topics:
            for subscription in self._subscriptions.pop(topic):
                self._connection.node.destroy_subscription(subscription)
        for topic in topics - set(self._subscriptions):
            self._subscriptions[topic] = []
            try:
                self._subscriptions[topic] = [self._subscribe(topic, message_class(topic.type))]
            except CodecError as error:  # of a type that is not installed here
                _log.warning('%s: not shown: %s', topic.name, error)

    def _subscribe(self, topic: WatchedTopic, kind: Any) -> Any:
        """Subscribe to a topic."""
        qos = QoSProfile(depth=_DEPTH, reliability=_BEST_EFFORT)
        if topic.role == CAMERA:
            qos = camera_qos(_BEST_EFFORT.name, topic.type)
        elif topic.type in IMAGE_TYPES:
            qos = QoSProfile(depth=1, reliability=_BEST_EFFORT)
        made = InboxTopic(topic.name, topic.role, kind, qos.depth)

        def receive(data: bytes) -> None:
            made.count += 1
            if len(data) <= IMAGE_BYTES:
                self._inbox.put(ReceivedMessage(made, made.count, data, self._now()))

        def on_lost(event: Any) -> None:
            made.count += event.total_count_change

        return self._connection.subscribe(
            kind,
            topic.name,
            receive,
            LATCHED if topic.latched else qos,
            event_callbacks=SubscriptionEventCallbacks(message_lost=on_lost),
            raw=True,
        )

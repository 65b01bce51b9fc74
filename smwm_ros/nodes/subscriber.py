# SPDX-License-Identifier: Apache-2.0
"""
Subscriptions whose messages are deserialised in a thread of their own, the newest of each topic.

Callbacks get bytes and check only their length, so a message that takes long to read does not
delay services and other callbacks of the executor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from threading import Condition, Thread
import time
from typing import Any, NamedTuple

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_policy_name_from_kind, QoSProfile
from rclpy.serialization import deserialize_message
from smwm_ros.control.controller import Controller
from smwm_ros.errors import CodecError
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.messages import LATCHED, VOLATILE
from smwm_ros.nodes.rclpy_versions import SubscriptionEventCallbacks, with_info

IMAGE_BYTES = 1 << 25  # of an image message: 4K with four channels fits
LATENT_BYTES = 1 << 20
TEXT_BYTES = 1 << 12
COMMAND_BYTES = 1 << 20
_RECENT = 32  # messages of a topic that are remembered to detect duplicates
_RECENT_TIME = 1.0  # duplicates are received within this time [s]
_TIMEOUT = 1.0  # until the thread has ended [s]


class PendingMessage(NamedTuple):
    """A received message that waits to be deserialised."""

    topic: SubscribedTopic
    number: int  # of messages of the topic that were received or lost until then
    data: bytes | None  # None if it was too large
    size: int  # [bytes]
    time: float  # receive time by the node's clock [s]
    era: int  # of the controller at that time

    def read(self) -> Any:
        """Return the deserialised message, or raise if it is too large or damaged."""
        if self.data is None:
            raise CodecError(
                f'{self.topic.name}: a message of {self.size} bytes, expected at most '
                f'{self.topic.limit}'
            )
        return deserialize_message(self.data, self.topic.type)


OnMessage = Callable[[PendingMessage], None]


class SubscribedTopic:
    """A topic with one or two subscriptions, and the counts of its messages."""

    def __init__(self, name: str, type_: Any, limit: int, on_message: OnMessage) -> None:
        self.name, self.type, self.limit, self.on_message = name, type_, limit, on_message
        self.depth = 1  # messages that may wait: of images only the newest
        self.count = self.skipped = self.lost = 0
        self._recent: deque[_Received] = deque(maxlen=_RECENT)  # by one subscription so far

    def is_new(self, data: bytes, info: Mapping[str, Any], latched: bool, now: float) -> bool:
        """
        Return whether neither this message nor a later one came by the other subscription.

        Each subscription delivers in order, but they do not wait for each other. Without a source
        timestamp (Humble, some middlewares) the data identify a message, and not its order.
        """
        stamp = info.get('source_timestamp', 0)
        while self._recent and now - self._recent[0].time > _RECENT_TIME:
            self._recent.popleft()
        others = [received for received in self._recent if received.latched is not latched]
        for received in others:
            if (received.stamp, received.digest) == (stamp, hash(data)):
                self._recent.remove(received)
                return False
        self._recent.append(_Received(stamp, hash(data), latched, now))
        return not any(received.stamp > stamp for received in others)


class _Received(NamedTuple):
    """A message that one of two subscriptions has received."""

    stamp: int  # source timestamp [ns]
    digest: int  # of the data
    latched: bool  # by the transient local subscription
    time: float  # receive time [s]


class Subscriber:
    """Subscribes to topics, and calls on_message in a thread of its own."""

    def __init__(
        self,
        node: LifecycleNode,
        clock: WallClock | RosClock,
        controller: Controller,
        warn: Callable[[str], None],
        name: str,  # of the thread
    ) -> None:
        self._node, self._clock, self._controller, self._warn = node, clock, controller, warn
        self.subscriptions: list[Any] = []
        # By topic or caller, oldest first.
        self._waiting: dict[object, deque[Callable[[], object]]] = {}
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def subscribe(
        self,
        type_: Any,
        topic: str,
        on_message: OnMessage,
        qos: QoSProfile,
        limit: int,  # [bytes]
        remedy: str,  # for a publisher with incompatible QoS
    ) -> SubscribedTopic:
        """Subscribe to a topic; as many messages may wait for the thread as its QoS keeps."""
        made = SubscribedTopic(self._node.resolve_topic_name(topic), type_, limit, on_message)
        made.depth = qos.depth
        self._subscribe(made, topic, qos, remedy)
        return made

    def subscribe_any_durability(
        self, type_: Any, topic: str, on_message: OnMessage, limit: int, remedy: str
    ) -> SubscribedTopic:
        """Subscribe to volatile and to transient local publishers."""
        made = SubscribedTopic(self._node.resolve_topic_name(topic), type_, limit, on_message)
        self._subscribe(made, topic, VOLATILE, remedy, twice=True)
        # Volatile publishers are incompatible with this one only, so there is no remedy to give.
        self._subscribe(made, topic, LATCHED, '', twice=True)
        return made

    def close(self) -> bool:
        """End the thread; return False if it still runs. May be called twice, from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT)
        return not self._thread.is_alive()

    def destroy(self) -> None:
        """Destroy the subscriptions; only from the executor's thread."""
        for subscription in self.subscriptions:
            self._node.destroy_subscription(subscription)
        self.subscriptions.clear()

    def receive(self, topic: SubscribedTopic, data: bytes) -> None:
        """Keep the newest messages of a topic; where too many wait, all of them are dropped."""
        size, now, era = len(data), self._clock.now(), self._controller.era
        small = data if size <= topic.limit else None
        with self._changed:
            topic.count += 1
            message = PendingMessage(topic, topic.count + topic.lost, small, size, now, era)
            topic.skipped += self.call(topic, partial(topic.on_message, message), topic.depth)

    def call(self, key: object, function: Callable[[], object], depth: int = 1) -> int:
        """
        Call a function in the thread; return how many that waited under this key are dropped.

        Where `depth` of them wait already, all are dropped.
        """
        with self._changed:
            waiting = self._waiting.pop(key, deque[Callable[[], object]]())
            dropped = len(waiting) if len(waiting) >= depth else 0
            if dropped:
                waiting.clear()
            waiting.append(function)
            self._waiting[key] = waiting
            self._changed.notify()
        return dropped

    def _subscribe(
        self, topic: SubscribedTopic, name: str, qos: QoSProfile, remedy: str, twice: bool = False
    ) -> None:
        """Create a subscription; with a remedy, warn of publishers with incompatible QoS."""

        def on_data(data: bytes, info: Mapping[str, Any]) -> None:
            if not twice or topic.is_new(data, info, qos is LATCHED, time.monotonic()):
                self.receive(topic, data)

        def on_incompatible_qos(event: Any) -> None:
            if remedy:
                policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
                self._warn(f'{topic.name}: a publisher has incompatible QoS ({policy}); {remedy}')

        def on_lost(event: Any) -> None:
            topic.lost += event.total_count_change

        events = SubscriptionEventCallbacks(
            incompatible_qos=on_incompatible_qos, message_lost=on_lost
        )
        self.subscriptions.append(
            self._node.create_subscription(
                topic.type, name, with_info(on_data), qos, event_callbacks=events, raw=True
            )
        )

    def _run(self) -> None:
        """Call on_message until closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                key = next(iter(self._waiting))
                waiting = self._waiting.pop(key)
                function = waiting.popleft()
                if waiting:
                    self._waiting[key] = waiting
            function()

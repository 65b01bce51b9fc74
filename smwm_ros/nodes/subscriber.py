# SPDX-License-Identifier: Apache-2.0
"""
Subscriptions whose messages are read in a thread of their own, the newest of each topic only.

Messages come as bytes. The executor's thread looks at nothing but their length, so a message that
takes long to read, whatever it is, delays no service and no other callback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
import time
from typing import Any, NamedTuple

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_policy_name_from_kind, QoSProfile
from rclpy.serialization import deserialize_message
from smwm_ros.control.controller import Controller
from smwm_ros.errors import CodecError
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.messages import LATCHED, VOLATILE

IMAGE_BYTES = 1 << 25  # of an image message: 4K with four channels fits
LATENT_BYTES = 1 << 20
TEXT_BYTES = 1 << 12
COMMAND_BYTES = 1 << 20
_REMEMBERED = 32  # messages of a topic, to know one that comes twice
_APART = 1.0  # then they come within this [s]
_HANG = 1.0  # until the thread has ended [s]


class Message(NamedTuple):
    """One message that waits to be read."""

    topic: Topic
    data: bytes | None  # None where it was too large
    size: int  # [bytes]
    time: float  # when it came, by the node's clock [s]
    era: int  # of the controller, then

    def read(self) -> Any:
        """Return the message, or raise where it is too large or damaged."""
        if self.data is None:
            raise CodecError(
                f'a message of {self.size} bytes on {self.topic.name} was not looked at; expected '
                f'at most {self.topic.limit}'
            )
        return deserialize_message(self.data, self.topic.kind)


Heard = Callable[[Message], None]


class Topic:
    """One topic, by one or two subscriptions, and what was heard there."""

    def __init__(self, name: str, kind: Any, limit: int, heard: Heard) -> None:
        self.name, self.kind, self.limit, self.heard = name, kind, limit, heard
        self.count = self.skipped = self.lost = 0
        self._single: deque[_Seen] = deque(maxlen=_REMEMBERED)

    def is_new(self, info: Any, kept: bool, now: float) -> bool:
        """
        Say whether a message did not come by the other subscription already, nor a later one.

        Each subscription has its messages in order, but they do not wait for each other.
        """
        stamp = info['source_timestamp']
        if not stamp:  # this middleware has none
            return True
        while self._single and now - self._single[0].time > _APART:
            self._single.popleft()
        others = [seen for seen in self._single if seen.kept is not kept]
        for seen in others:
            if seen.stamp == stamp:
                self._single.remove(seen)
                return False
        self._single.append(_Seen(stamp, kept, now))
        return not any(seen.stamp > stamp for seen in others)


class _Seen(NamedTuple):
    """A message that came by one of two subscriptions."""

    stamp: int  # of its publisher [ns]
    kept: bool  # came by the one that hears what was published before, too
    time: float  # when [s]


class Subscriber:
    """Hears topics, and reads what comes in a thread of its own."""

    def __init__(
        self,
        node: LifecycleNode,
        clock: WallClock | RosClock,
        controller: Controller,
        warn: Callable[[str], None],
        name: str,
    ) -> None:
        self._node, self._clock, self._controller, self._warn = node, clock, controller, warn
        self._subscriptions: list[Any] = []
        self._waiting: dict[Topic, Message] = {}  # the oldest first
        self._news = Condition()
        self._closing = False
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def subscribe(
        self,
        kind: Any,
        topic: str,
        heard: Heard,  # called in this object's thread
        qos: QoSProfile,
        limit: int,
        remedy: str,  # where a publisher cannot be heard
    ) -> Topic:
        """Hear a topic."""
        made = self._topic(kind, topic, heard, limit)
        self._open(made, topic, qos, remedy)
        return made

    def subscribe_kept(
        self, kind: Any, topic: str, heard: Heard, limit: int, remedy: str
    ) -> Topic:
        """Hear a topic from every reliable publisher, also what was published before."""
        made = self._topic(kind, topic, heard, limit)
        self._open(made, topic, VOLATILE, remedy, both=True)
        # A volatile publisher cannot be heard by this one, and is by the other.
        self._open(made, topic, LATCHED, '', both=True)
        return made

    def close(self) -> bool:
        """End the thread; False where it is left behind. Legal twice and from any thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(_HANG)
        return not self._thread.is_alive()

    def destroy(self) -> None:
        """Give the subscriptions back; only from the executor's thread."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _topic(self, kind: Any, topic: str, heard: Heard, limit: int) -> Topic:
        """Return a topic by its name after remapping."""
        return Topic(self._node.resolve_topic_name(topic), kind, limit, heard)

    def _open(
        self, topic: Topic, name: str, qos: QoSProfile, remedy: str, both: bool = False
    ) -> None:
        """Subscribe; a publisher that cannot be heard gets a warning with the remedy."""

        def came(data: bytes, info: Any) -> None:
            if not both or topic.is_new(info, qos is LATCHED, time.monotonic()):
                self._keep(topic, data)

        def incompatible(event: Any) -> None:
            if remedy:
                policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
                self._warn(
                    f'{topic.name}: a publisher cannot be heard, its {policy} differs; {remedy}'
                )

        def lost(event: Any) -> None:
            topic.lost += event.total_count_change

        events = SubscriptionEventCallbacks(incompatible_qos=incompatible, message_lost=lost)
        self._subscriptions.append(
            self._node.create_subscription(
                topic.kind, name, came, qos, event_callbacks=events, raw=True
            )
        )

    def _keep(self, topic: Topic, data: bytes) -> None:
        """Keep the newest message; an older one that nobody has read is gone."""
        size, now, era = len(data), self._clock.now(), self._controller.era
        message = Message(topic, data if size <= topic.limit else None, size, now, era)
        with self._news:
            topic.count += 1
            topic.skipped += topic in self._waiting
            self._waiting.pop(topic, None)
            self._waiting[topic] = message
            self._news.notify()

    def _run(self) -> None:
        """Read until closed."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closing or self._waiting)
                if self._closing:
                    return
                topic = next(iter(self._waiting))
                message = self._waiting.pop(topic)
            topic.heard(message)

# SPDX-License-Identifier: Apache-2.0
"""Pass the newest messages of many topics from one thread to another, in their order."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any, NamedTuple


class InboxTopic:
    """A topic whose messages go through an inbox."""

    def __init__(self, name: str, role: str, type_: Any = None, depth: int = 1) -> None:
        self.name = name
        self.role = role  # what the plan node uses the topic for
        self.type = type_  # message class
        self.depth = depth  # messages that may wait
        self.count = 0  # messages that were received or lost


class ReceivedMessage(NamedTuple):
    """A serialised message."""

    topic: InboxTopic
    number: int  # count of the topic when it was received
    data: bytes
    time: int  # receive time by the clock of the plan node [ns]


class Inbox:
    """Holds a number of messages of each topic; where more wait, the oldest of it is dropped."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[ReceivedMessage] = deque()
        self._counts: dict[str, int] = {}
        self._closed = False
        self.dropped = 0

    def put(self, message: ReceivedMessage) -> None:
        """Add a message."""
        with self._changed:
            topic = message.topic.name
            self._counts[topic] = self._counts.get(topic, 0) + 1
            self._waiting.append(message)
            while self._counts[topic] > message.topic.depth:
                oldest = next(one for one in self._waiting if one.topic.name == topic)
                self._waiting.remove(oldest)
                self._counts[topic] -= 1
                self.dropped += 1
            self._changed.notify()

    def take(self) -> list[ReceivedMessage] | None:
        """Wait for messages and remove all that wait; return None when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            found = list(self._waiting)
            self._waiting.clear()
            self._counts.clear()
            return found or None

    def close(self) -> None:
        """End take() when nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()

# SPDX-License-Identifier: Apache-2.0
"""Pass the newest messages of many topics from one thread to another, in their order."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any, NamedTuple


class ReceivedMessage(NamedTuple):
    """A serialised message, and what is known of its topic."""

    topic: str
    role: str  # what the plan node uses the topic for
    type: Any  # message class
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

    def put(self, message: ReceivedMessage, depth: int) -> None:
        """Add a message; at most `depth` of its topic wait."""
        with self._changed:
            topic = message.topic
            if self._counts.get(topic, 0) >= depth:
                oldest = next(one for one in self._waiting if one.topic == topic)
                self._waiting.remove(oldest)
                self.dropped += 1
            else:
                self._counts[topic] = self._counts.get(topic, 0) + 1
            self._waiting.append(message)
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

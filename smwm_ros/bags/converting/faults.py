# SPDX-License-Identifier: Apache-2.0
"""Count damaged messages, and stop at a bag with too many of them."""

from __future__ import annotations

from collections import Counter

from smwm_ros.errors import BagError, CodecError
from smwm_ros.text import count_of

_MIN_DAMAGED = 20  # damaged messages from which the share is checked before the end of the bag


class Faults:
    """Damaged messages, by topic."""

    def __init__(self, where: str, limit: float) -> None:
        self.first: dict[str, str] = {}  # the first error of each topic
        self.total: Counter[str] = Counter()  # messages decoded, counted by the caller
        self._where = where
        self._limit = limit  # share of the messages of a topic
        self._count: Counter[str] = Counter()

    def add(self, topic: str, error: CodecError) -> None:
        """Count a damaged message; raise early if there are too many."""
        self.first.setdefault(topic, str(error))
        self._count[topic] += 1
        if self._count[topic] >= _MIN_DAMAGED:
            self._check(topic)

    def check(self) -> None:
        """Raise if too many messages of a topic were damaged."""
        for topic in self.first:
            self._check(topic)

    def _check(self, topic: str) -> None:
        count, total = self._count[topic], self.total[topic]
        if count > self._limit * total:
            raise BagError(
                f'{self._where}: {topic}: {count} of {count_of(total, "message")} damaged, '
                f'more than the share dataset.max_damaged={self._limit:g}; first error: '
                f'{self.first[topic]}'
            )

# SPDX-License-Identifier: Apache-2.0
"""What a recorder reports: warnings about its topics and its disk, and how much was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from smwm_ros.text import count_of

WINDOW = 5  # over which rates are measured [s]
_SLOW = 0.5  # share of the rate that the others allow, below which a topic is slow
_SOON = 120.0  # the disk is nearly full if it would be full within this time [s]


class TopicState(Protocol):
    """What is known about a topic."""

    name: str
    stored: str
    needed: bool
    expected: bool
    publishers: int
    flaw: str

    @property
    def rate(self) -> float | None:
        """Return the messages in a second, None if it is not known."""


class Progress(NamedTuple):
    """How far a recording is."""

    name: str  # '' if nothing is recorded
    task: str
    seconds: float
    counts: Mapping[str, int]  # messages, by topic
    stored: int  # episodes of this session
    space: int  # that may be recorded [bytes]
    growth: float  # of the recording [bytes/s]


def warnings(topics: Sequence[TopicState], dt: float, progress: Progress) -> list[str]:
    """Return what is wrong with the topics and the disk; dt: control period [s]."""
    found = [topic.flaw for topic in topics if topic.flaw]
    found += [
        f'{topic.name}: no publisher'
        for topic in topics
        if topic.expected and not topic.publishers and not topic.flaw
    ]
    if progress.name and progress.seconds > WINDOW:  # rates of before do not count
        found += _slow([topic for topic in topics if topic.needed and topic.publishers], dt)
    if not progress.space:
        found.append('the disk is nearly full')
    elif progress.space < _SOON * progress.growth:
        left = progress.space / progress.growth
        found.append(f'the disk is nearly full: enough for {left:.0f} s')
    return found


def _slow(topics: Sequence[TopicState], dt: float) -> Iterator[str]:
    """Name the topics of the robot that are much slower than the others and than control."""
    rates = {topic.name: rate for topic in topics if (rate := topic.rate) is not None}
    for name, rate in rates.items():
        others = [other for key, other in rates.items() if key != name]
        wanted = min([1 / dt, max(others, default=1 / dt)])
        if rate < _SLOW * wanted:
            yield (
                f'{name}: {rate:.1f} messages/s, expected about {wanted:.1f} as on the other '
                'topics'
                if others
                else f'{name}: {rate:.1f} messages/s, expected {wanted:.1f} for robot.dt={dt:g}'
            )


def status(
    topics: Sequence[TopicState], progress: Progress, problems: Sequence[str]
) -> dict[str, Any]:
    """Return the content of ~/status."""
    return {
        'recording': progress.name,
        'task': progress.task,
        'seconds': round(progress.seconds, 1),
        'episodes': progress.stored,
        'space': progress.space,
        'topics': {
            topic.stored: {
                'messages': progress.counts.get(topic.stored, 0),
                'rate': None if topic.rate is None else round(topic.rate, 2),
                'publishers': topic.publishers,
            }
            for topic in topics
        },
        'warnings': list(problems),
    }


def status_line(topics: Sequence[TopicState], progress: Progress) -> str:
    """Return how much was recorded, as one line."""
    parts = []
    for topic in topics:
        if topic.expected or topic.publishers:
            rate = '' if topic.rate is None else f' ({topic.rate:.1f}/s)'
            parts.append(f'{topic.stored} {progress.counts.get(topic.stored, 0)}{rate}')
    return (
        f'{progress.name}: {progress.seconds:.0f} s; {", ".join(parts)}; '
        f'{count_of(progress.stored, "episode")} stored'
    )

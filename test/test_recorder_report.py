# SPDX-License-Identifier: Apache-2.0
"""A recorder warns of topics that are missing or slow, and of a disk that is nearly full."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from smwm_ros.nodes.recorder_report import Progress, status, status_line, warnings

GB = 10**9
RECORDING = Progress('episode_0002', 'sweep', 20.0, {'/eye': 200, '/order': 7}, 1, 90 * GB, 1e6)


@dataclass
class Seen:
    """What is known about a topic."""

    name: str
    rate: float | None = 10.0
    needed: bool = True
    expected: bool = True
    publishers: int = 1
    flaw: str = ''

    def __post_init__(self) -> None:
        """Store it under its name."""
        self.stored = self.name


def warn(*topics: Seen, progress: Progress = RECORDING, dt: float = 0.1) -> list[str]:
    """Return the warnings about topics."""
    return warnings(topics, dt, progress)


def test_topics_as_fast_as_the_others_or_as_control_are_fine() -> None:
    assert warn(Seen('/eye', 30.0), Seen('/order', 10.0), Seen('/odom', 50.0)) == []
    assert warn(Seen('/eye', 30.0), Seen('/order', 5.1), Seen('/odom', 50.0)) == []
    assert warn(Seen('/eye', 2.0), Seen('/order', 2.1)) == [], 'a simulation may be slow'
    assert warn(Seen('/eye', None), Seen('/order', None)) == []


@pytest.mark.parametrize('rate', [0.0, 4.9])
def test_a_topic_far_below_the_others_is_named_while_an_episode_is_recorded(rate: float) -> None:
    topics = Seen('/eye', rate), Seen('/order', 10.0), Seen('/odom', 50.0)
    (found,) = warn(*topics)
    assert found == f'/eye: {rate:.1f} messages/s, expected about 10.0 as on the other topics'
    assert warn(*topics, progress=RECORDING._replace(name='')) == []
    assert warn(*topics, progress=RECORDING._replace(seconds=5.0)) == [], 'rates of before'


def test_a_single_topic_is_compared_with_the_control_period() -> None:
    (found,) = warn(Seen('/eye', 4.0))
    assert found == '/eye: 4.0 messages/s, expected 10.0 for robot.dt=0.1'
    assert warn(Seen('/eye', 4.0), dt=0.2) == []


def test_extra_topics_may_have_any_rate_but_need_a_publisher() -> None:
    assert warn(Seen('/eye'), Seen('/map', 0.0, needed=False)) == []
    silent = Seen('/map', needed=False, publishers=0)
    assert warn(silent, progress=RECORDING._replace(name='')) == ['/map: no publisher']
    assert warn(replace(silent, expected=False)) == [], '/clock is there or not'
    assert warn(replace(silent, flaw='/map: what is it')) == ['/map: what is it']


def test_a_disk_that_will_soon_be_full_is_named() -> None:
    fast = RECORDING._replace(growth=1e9)
    assert warn(progress=fast) == ['the disk is nearly full: enough for 90 s']
    assert warn(progress=fast._replace(space=130 * GB)) == []
    assert warn(progress=RECORDING._replace(space=0, name='')) == ['the disk is nearly full']


def test_the_status_has_messages_and_rates_of_each_topic() -> None:
    topics = (
        Seen('/eye', 9.987),
        Seen('/order', None, publishers=0),
        Seen('/clock', expected=False),
    )
    found = status(topics, RECORDING, ['a problem'])
    assert found['recording'] == 'episode_0002'
    assert (found['task'], found['seconds'], found['episodes']) == ('sweep', 20.0, 1)
    assert found['topics']['/eye'] == {'messages': 200, 'rate': 9.99, 'publishers': 1}
    assert found['topics']['/order'] == {'messages': 7, 'rate': None, 'publishers': 0}
    assert found['topics']['/clock']['messages'] == 0
    assert found['warnings'] == ['a problem']
    hidden = replace(topics[2], publishers=0)
    assert status_line((*topics[:2], hidden), RECORDING) == (
        'episode_0002: 20 s; /eye 200 (10.0/s), /order 7; 1 episode stored'
    )

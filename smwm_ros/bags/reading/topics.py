# SPDX-License-Identifier: Apache-2.0
"""Find in a bag what the configuration of a robot names, and look at its clocks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
from smwm_ros.bags.reading.clock import choose_clocks, Clocks, Stamps
from smwm_ros.bags.reading.reader import BagReader
from smwm_ros.config import Config, Robot
from smwm_ros.errors import BagError, CodecError

_MARKS = ('std_msgs/msg/Bool', 'std_msgs/msg/String')
_LOOKS = 16  # places in a bag where stamps are compared
_LATE = 250_000_000  # a message that comes later than others by this may have been held up [ns]
_STALL = 4_000_000_000  # a network holds messages up no longer than this [ns]


def as_recorded(robot: Robot) -> Robot:
    """Return a robot with the topics of a bag, where names are absolute."""
    camera = replace(
        robot.camera,
        topic=_absolute(robot.camera.topic),
        others=' '.join(_absolute(topic) for topic in robot.camera.others.split()),
    )
    command = replace(robot.command, topic=_absolute(robot.command.topic))
    state = replace(robot.state, topic=_absolute(robot.state.topic))
    return replace(robot, camera=camera, command=command, state=state)


def config_as_recorded(config: Config) -> Config:
    """Return a configuration with the topics of a bag."""
    mark = _absolute(config.dataset.episode_topic)
    dataset = replace(config.dataset, episode_topic=mark)
    return replace(config, robot=as_recorded(config.robot), dataset=dataset)


def required_topics(reader: BagReader, config: Config) -> list[str]:
    """Return the topics that the configuration names; all must be in the bag."""
    robot, mark = config.robot, config.dataset.episode_topic
    camera, command, state = robot.camera, robot.command, robot.state
    wanted = dict.fromkeys(camera.topics, camera.type)
    wanted[command.topic] = command.type
    if state.topic:
        wanted[state.topic] = state.type
    for topic, kind in wanted.items():
        _require(reader, topic, (kind,))
    if mark:
        _require(reader, mark, _MARKS)
    return list({**wanted, mark: ''} if mark else wanted)


def clocks_of(reader: BagReader, config: Config) -> Clocks:
    """Choose the clock of each topic that may have one in its headers."""
    robot, dataset = config.robot, config.dataset
    wanted = dict.fromkeys(robot.camera.topics, dataset.camera_time)
    wanted[robot.command.topic] = dataset.command_time
    if robot.state.topic:
        wanted.setdefault(robot.state.topic, dataset.state_time)
    full = {topic: base or dataset.time for topic, base in wanted.items()}
    return choose_clocks(full, sample_stamps(reader, list(full)))


def mean_period(reader: BagReader, topic: str) -> float:
    """Return the time from one message of a topic to the next, pauses and all [ns]."""
    return (reader.end - reader.start) / reader.topics[topic].messages


def sample_stamps(reader: BagReader, topics: list[str]) -> dict[str, Stamps | None]:
    """Look at both stamps of each topic all over the bag."""
    with_header = [topic for topic in topics if reader.has_header(topic)]
    found: dict[str, list[tuple[int, int]]] = {topic: [] for topic in with_header}
    if with_header:
        for message in reader.glance(with_header, _LOOKS):
            with suppress(CodecError):  # counted when it is converted
                found[message.topic].append((message.stamp, reader.header_stamp(message)))
    for topic, each in found.items():
        usual = max((header - stamp for stamp, header in each), default=0)
        for number, (stamp, header) in enumerate(each):
            if header - stamp < usual - _LATE:
                each[number] = _soonest(reader, topic, stamp)
    pairs = {topic: np.array(sorted(each), np.int64) for topic, each in found.items() if each}
    stamps = {topic: Stamps(pair[:, 1], pair[:, 0]) for topic, pair in pairs.items()}
    return {topic: stamps.get(topic) for topic in topics}


def _soonest(reader: BagReader, topic: str, stamp: int) -> tuple[int, int]:
    """Return both stamps of the message, of the next few seconds, that was received soonest."""
    pairs = []
    for message in reader.messages([topic], stamp, stamp + _STALL):
        with suppress(CodecError):
            pairs.append((message.stamp, reader.header_stamp(message)))
    return max(pairs, key=lambda pair: pair[1] - pair[0])


def _absolute(topic: str) -> str:
    """Return a topic as it is called outside of any namespace; none stays none."""
    return topic if not topic or topic.startswith('/') else f'/{topic}'


def _require(reader: BagReader, topic: str, kinds: tuple[str, ...]) -> None:
    """Refuse a bag without messages of a topic of one of some types."""
    known = reader.topics.get(topic)
    kind = known.type if known and known.type in kinds else kinds[0]
    if not reader.require(topic, kind).messages:
        raise BagError(f'{reader.where}: {topic} has no messages')
    if flaw := reader.undefined(topic):
        raise BagError(f'{reader.where}: {topic}: {flaw}')

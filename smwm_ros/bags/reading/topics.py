# SPDX-License-Identifier: Apache-2.0
"""Find the topics of a robot's configuration in a bag, and choose their clocks."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

import numpy as np
from smwm_ros.bags.reading.clock import choose_clocks, Clocks, Stamps
from smwm_ros.bags.reading.find import Bag
from smwm_ros.bags.reading.reader import BagReader, VIDEO_TOPIC
from smwm_ros.codec.transport import as_published
from smwm_ros.config import Camera, Config, IMAGE_TYPES, Robot
from smwm_ros.errors import BagError, CodecError

_EPISODE_TYPES = ('std_msgs/msg/Bool', 'std_msgs/msg/String')
_SAMPLES = 16  # places in a bag where stamps are compared
_DELAYED = 250_000_000  # a message this much later than others may be delayed by the network [ns]
_LONGEST_DELAY = 4_000_000_000  # of the network [ns]


def as_recorded(robot: Robot, bag: Bag | None = None) -> Robot:
    """Return the robot with absolute topic names, as bags have them; a video is its camera."""
    camera = replace(
        robot.camera,
        topic=_absolute(robot.camera.topic),
        others=' '.join(_absolute(topic) for topic in robot.camera.others.split()),
    )
    if bag and bag.is_video:
        if camera.others:
            raise BagError(
                f'{bag.paths[0]}: a video has one camera, but robot.camera.others names more; '
                'convert the videos to a dataset of their own'
            )
        camera = Camera(topic=VIDEO_TOPIC, type=IMAGE_TYPES[0])
    command = replace(robot.command, topic=_absolute(robot.command.topic))
    state = replace(robot.state, topic=_absolute(robot.state.topic))
    return replace(robot, camera=camera, command=command, state=state)


def config_as_recorded(config: Config, bag: Bag) -> Config:
    """Return the configuration with the topics as a recording has them."""
    mark = '' if bag.is_video else _absolute(config.dataset.episode_topic)
    dataset = replace(config.dataset, episode_topic=mark)
    return replace(config, robot=as_recorded(config.robot, bag), dataset=dataset)


def by_transport(robot: Robot, reader: BagReader) -> Robot:
    """Return the robot with compressed images where a bag has no raw ones, and vice versa."""
    types = {name: topic.type for name, topic in reader.topics.items() if topic.messages}
    camera = as_published(robot.camera, types)
    if camera != robot.camera:
        note = f'camera: {" ".join(camera.topics)}, as {" ".join(robot.camera.topics)} is missing'
        reader.notes.append(note)
    return replace(robot, camera=camera)


def required_topics(reader: BagReader, config: Config) -> list[str]:
    """Return the topics of the configuration to read; raise if one is missing in the bag."""
    robot, mark = config.robot, config.dataset.episode_topic
    camera, command, state = robot.camera, robot.command, robot.state
    wanted = dict.fromkeys(camera.topics, camera.type)
    if _reads_commands(reader, config):
        wanted[command.topic] = command.type
    if state.topic and not reader.bag.is_video:
        wanted[state.topic] = state.type
    for topic, kind in wanted.items():
        _require(reader, topic, (kind,))
    if mark:
        _require(reader, mark, _EPISODE_TYPES)
    return list({**wanted, mark: ''} if mark else wanted)


def _reads_commands(reader: BagReader, config: Config) -> bool:
    """Return whether commands are read; raise if a video should have them."""
    if config.dataset.action == 'none':
        return False
    if config.dataset.after_hold != 'unknown':
        if reader.bag.is_video:
            raise BagError(
                f'{reader.where}: a video has no commands; set dataset.action=none, or '
                'dataset.after_hold=unknown to convert it beside bags that have them'
            )
        return True
    found = reader.topics.get(config.robot.command.topic)
    return found is not None and found.messages > 0


def choose_topic_clocks(reader: BagReader, config: Config, topics: Collection[str]) -> Clocks:
    """Choose the clock of camera, command and state topics, as far as they are read."""
    robot, dataset = config.robot, config.dataset
    if reader.bag.is_video:
        return Clocks({robot.camera.topic: 'presentation'}, f'a video of {reader.video}')
    wanted = dict.fromkeys(robot.camera.topics, dataset.camera_time)
    wanted[robot.command.topic] = dataset.command_time
    wanted.setdefault(robot.state.topic, dataset.state_time)
    full = {topic: wanted[topic] or dataset.time for topic in wanted if topic in topics}
    return choose_clocks(full, sample_stamps(reader, list(full)))


def mean_period(reader: BagReader, topic: str) -> float:
    """Return the mean time between messages of a topic, pauses included [ns]."""
    return (reader.end - reader.start) / reader.topics[topic].messages


def sample_stamps(reader: BagReader, topics: list[str]) -> dict[str, Stamps | None]:
    """Return header stamps and receive times of each topic, sampled over the bag."""
    with_header = [topic for topic in topics if reader.has_header(topic)]
    found: dict[str, list[tuple[int, int]]] = {topic: [] for topic in with_header}
    if with_header:
        for message in reader.sample(with_header, _SAMPLES):
            with suppress(CodecError):  # counted as damaged in the conversion
                found[message.topic].append((message.stamp, reader.header_stamp(message)))
    for topic, each in found.items():
        usual = max((header - stamp for stamp, header in each), default=0)
        for number, (stamp, header) in enumerate(each):
            if header - stamp < usual - _DELAYED:
                each[number] = _least_delayed(reader, topic, stamp)
    pairs = {topic: np.array(sorted(each), np.int64) for topic, each in found.items() if each}
    stamps = {topic: Stamps(pair[:, 1], pair[:, 0]) for topic, pair in pairs.items()}
    return {topic: stamps.get(topic) for topic in topics}


def _least_delayed(reader: BagReader, topic: str, stamp: int) -> tuple[int, int]:
    """Return receive time and header stamp of the least delayed of the next messages."""
    pairs = []
    for message in reader.messages([topic], stamp, stamp + _LONGEST_DELAY):
        with suppress(CodecError):
            pairs.append((message.stamp, reader.header_stamp(message)))
    return max(pairs, key=lambda pair: pair[1] - pair[0])


def _absolute(topic: str) -> str:
    """Return the absolute name of a topic in the root namespace; '' stays ''."""
    return topic if not topic or topic.startswith('/') else f'/{topic}'


def _require(reader: BagReader, topic: str, kinds: tuple[str, ...]) -> None:
    """Require messages of a topic, of one of these types."""
    known = reader.topics.get(topic)
    kind = known.type if known and known.type in kinds else kinds[0]
    if not reader.require(topic, kind).messages:
        raise BagError(f'{reader.where}: {topic} has no messages')
    if flaw := reader.undefined(topic):
        raise BagError(f'{reader.where}: {topic}: {flaw}')

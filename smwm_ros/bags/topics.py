# SPDX-License-Identifier: Apache-2.0
"""Find in a bag what the configuration of a robot names, and look at its clocks."""

from __future__ import annotations

import numpy as np
from smwm_ros.bags.clock import Stamps
from smwm_ros.bags.read import BagReader
from smwm_ros.config import Config
from smwm_ros.errors import BagError

_LOOKS = 16  # places in a bag where stamps are compared


def required_topics(reader: BagReader, config: Config) -> list[str]:
    """Return the topics that the robot's configuration names; all must be in the bag."""
    camera, command, state = config.robot.camera, config.robot.command, config.robot.state
    wanted = {camera.topic: camera.type, command.topic: command.type}
    if state.topic:
        wanted[state.topic] = state.type
    for topic, kind in wanted.items():
        if not reader.require(topic, kind).messages:
            raise BagError(f'{reader.where}: {topic} has no messages')
    return list(wanted)


def sample_stamps(reader: BagReader, topics: list[str]) -> dict[str, Stamps | None]:
    """Look at both stamps of each topic all over the bag."""
    with_header = [topic for topic in topics if reader.has_header(topic)]
    found: dict[str, list[tuple[int, int]]] = {topic: [] for topic in with_header}
    if with_header:
        for message in reader.glance(with_header, _LOOKS):
            found[message.topic].append((message.stamp, reader.header_stamp(message)))
    pairs = {topic: np.array(sorted(each), np.int64) for topic, each in found.items()}
    stamps = {topic: Stamps(pair[:, 1], pair[:, 0]) for topic, pair in pairs.items()}
    return {topic: stamps.get(topic) for topic in topics}

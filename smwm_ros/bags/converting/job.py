# SPDX-License-Identifier: Apache-2.0
"""Turn one bag into one shard, reading it once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from smwm_ros.bags.converting.shard_builder import ShardBuilder
from smwm_ros.bags.reading.find import Bag
from smwm_ros.bags.reading.reader import BagReader, read_or_recover
from smwm_ros.bags.reading.topics import choose_topic_clocks, config_as_recorded, required_topics
from smwm_ros.config import Config
from smwm_ros.errors import BagError, CodecError, writing


class Progress(NamedTuple):
    """What happened since the last report."""

    expected: int  # messages more to come
    messages: int  # read
    size: int  # read [bytes]


Report = Callable[[Progress], None]

_TELL_EVERY = 50  # messages


def convert_bag(
    bag: Bag, folder: Path, config: Config, about: dict[str, Any], report: Report
) -> None:
    """Read a bag and publish its shard; about says what else belongs into meta.json."""
    try:
        with writing(folder):  # what reading raises are BagErrors by now
            folder.parent.mkdir(parents=True, exist_ok=True)
            read_or_recover(bag, lambda reader: _convert(reader, folder, config, about, report))
    except CodecError as error:
        raise BagError(f'{bag.paths[0]}: {error}') from error


def _convert(
    reader: BagReader, folder: Path, config: Config, about: dict[str, Any], report: Report
) -> None:
    """Convert an open bag."""
    config = config_as_recorded(config)
    topics = required_topics(reader, config)
    clocks = choose_topic_clocks(reader, config)
    report(Progress(sum(reader.topics[topic].messages for topic in topics), 0, 0))
    with ShardBuilder(reader, folder, config, clocks) as recording:
        seen = size = 0
        for message in reader.messages(topics):
            recording.hear(message)
            seen, size = seen + 1, size + len(message.data)
            if seen == _TELL_EVERY:
                report(Progress(0, seen, size))
                seen = size = 0
        report(Progress(0, seen, size))
        recording.publish(about)

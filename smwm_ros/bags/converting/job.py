# SPDX-License-Identifier: Apache-2.0
"""Convert one bag to one shard, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from smwm_ros.bags.converting.shard_builder import ShardBuilder
from smwm_ros.bags.reading.find import Bag
from smwm_ros.bags.reading.outcome import read_outcome
from smwm_ros.bags.reading.packets import decoded
from smwm_ros.bags.reading.reader import BagReader, read_or_recover
from smwm_ros.bags.reading.topics import (
    by_transport,
    choose_topic_clocks,
    config_as_recorded,
    required_topics,
)
from smwm_ros.config import Config
from smwm_ros.errors import BagError, CodecError, ConfigError, writing


class ConversionProgress(NamedTuple):
    """The progress since the last report."""

    expected: int  # messages added to the total
    messages: int  # messages read
    size: int  # bytes read


Report = Callable[[ConversionProgress], None]

_REPORT_EVERY = 50  # messages


def convert_bag(
    bag: Bag, folder: Path, config: Config, about: dict[str, Any], report: Report
) -> None:
    """Convert a bag to a shard; about: further entries of meta.json."""
    try:
        with writing(folder):  # reading raises only BagErrors
            folder.parent.mkdir(parents=True, exist_ok=True)
            read_or_recover(bag, lambda reader: _convert(reader, folder, config, about, report))
    except (CodecError, ConfigError) as error:  # the latter: no cv_bridge on another machine
        raise BagError(f'{bag.paths[0]}: {error}') from error


def _convert(
    reader: BagReader, folder: Path, config: Config, about: dict[str, Any], report: Report
) -> None:
    """Convert an open bag."""
    config = config_as_recorded(config, reader.bag)
    config = replace(config, robot=by_transport(config.robot, reader))
    topics = required_topics(reader, config)
    reader.notes += filter(None, [read_outcome(reader.bag).flaw])
    clocks = choose_topic_clocks(reader, config, topics)
    report(ConversionProgress(sum(reader.topics[topic].messages for topic in topics), 0, 0))
    with ShardBuilder(reader, folder, config, clocks) as builder:
        count = size = 0
        for message in decoded(reader, topics):
            builder.add(message)
            count, size = count + 1, size + len(message.data)
            if count == _REPORT_EVERY:
                report(ConversionProgress(0, count, size))
                count = size = 0
        report(ConversionProgress(0, count, size))
        builder.publish(about)

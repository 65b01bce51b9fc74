# SPDX-License-Identifier: Apache-2.0
"""Measure how the messages of some topics come: how often, how late, and which images."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from smwm_ros.bags.reading.find import Bag
from smwm_ros.bags.reading.reader import BagReader, read_or_recover
from smwm_ros.codec.images import size_in_words, to_rgb
from smwm_ros.codec.video import SkippedPacketError
from smwm_ros.config import IMAGE_TYPES, OWN
from smwm_ros.errors import CodecError, MissingExtraError
from smwm_ros.interfaces import Array

_LONGEST = 20 * 10**9  # part of a bag that is read [ns]
_IMAGES = 8  # that are decoded, evenly spread


class Traffic(NamedTuple):
    """The messages of one topic."""

    received: Array  # (n,) receive times, rising [ns]
    stamps: Array  # (n,) header stamps [ns]; (0,) for messages without a header
    images: tuple[str, ...] = ()  # size and encoding: 640x480 rgb8
    flaw: str = ''  # why an image cannot be read

    @property
    def rate(self) -> float:
        """Return the usual number of messages in a second; 0 for fewer than two."""
        period = float(np.median(np.diff(self.received))) if len(self.received) > 1 else 0.0
        return 1e9 / period if period else 0.0

    @property
    def ages(self) -> Array | None:
        """Return receive times minus header stamps (n,) [s]; None if stamps are not set."""
        if not len(self.stamps) or not self.stamps.any():
            return None
        ages: Array = (self.received - self.stamps) / 1e9
        return ages


class BagTraffic(NamedTuple):
    """The topics of a bag with their types, and the traffic on some of them."""

    types: dict[str, str]
    of: dict[str, Traffic]


def traffic_in(bag: Bag, topics: Collection[str], decoder: str = OWN) -> BagTraffic:
    """Measure in the first seconds of a bag; topics that it does not hold are left out."""
    return read_or_recover(bag, lambda reader: _measure(reader, topics, decoder))


def _measure(reader: BagReader, topics: Collection[str], decoder: str) -> BagTraffic:
    """Measure the traffic in an open bag."""
    types = {name: topic.type for name, topic in reader.topics.items() if topic.messages}
    known = [name for name in dict.fromkeys(topics) if name in types]
    stamped = {name for name in known if reader.has_header(name)}
    times: dict[str, list[tuple[int, int]]] = {name: [] for name in known}
    for message in reader.messages(known, reader.start, reader.start + _LONGEST):
        with suppress(CodecError):  # too short to hold a stamp: the converter counts it as damaged
            stamp = reader.header_stamp(message) if message.topic in stamped else 0
            times[message.topic].append((message.stamp, stamp))
    found = {}
    for name in known:
        pairs = np.array(sorted(times[name]), np.int64).reshape(-1, 2)
        stamps = pairs[:, 1] if name in stamped else pairs[:0, 1]
        kinds, flaw = _images(reader, name, decoder)
        found[name] = Traffic(pairs[:, 0], stamps, kinds, flaw)
    return BagTraffic(types, found)


def _images(reader: BagReader, topic: str, decoder: str) -> tuple[tuple[str, ...], str]:
    """Return the kinds of images of a topic, and why one of them cannot be read."""
    kinds: dict[str, None] = {}
    if reader.topics[topic].type not in IMAGE_TYPES:
        return (), ''
    early = ''
    for message in reader.sample([topic], _IMAGES):
        try:
            image = reader.decode(message)
            to_rgb(image, decoder)
        except SkippedPacketError as error:
            early = str(error)  # it is no flaw that a recording begins between two keyframes
            continue
        except (CodecError, MissingExtraError) as error:
            return tuple(kinds), str(error)
        form = getattr(image, 'encoding', None) or getattr(image, 'format', '')
        kinds[f'{size_in_words(image)} {form}'.strip()] = None
    return tuple(kinds), '' if kinds else early

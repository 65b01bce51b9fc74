# SPDX-License-Identifier: Apache-2.0
"""
Describe a bag for a user who wants to convert it.

Counts are of the whole bag. Rates and gaps are of the scanned part, which is the whole bag unless
it is very large ('scanned' is its share). Limits are of messages spread over that part.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from smwm_ros.bags.reading.clock import choose_clock, Clock, Stamps
from smwm_ros.bags.reading.find import Bag
from smwm_ros.bags.reading.reader import BagReader, Message, read_or_recover
from smwm_ros.bags.reading.topics import sample_stamps
from smwm_ros.bags.survey.delay import estimate_delay
from smwm_ros.bags.survey.propose import choose_camera, FIELDS, Proposal, propose
from smwm_ros.bags.survey.scan import scan, TopicStats
from smwm_ros.codec.images import fit, size_in_words, to_rgb
from smwm_ros.config import IMAGE_TYPES
from smwm_ros.errors import CodecError, MissingExtraError
from smwm_ros.interfaces import Array

_SAMPLES = 24  # places in a bag where images are read
_THUMBNAIL = 128  # [px]


def survey(bag: Bag) -> dict[str, Any]:
    """Return the description of a bag as plain data."""
    return read_or_recover(bag, _survey)


def _survey(reader: BagReader) -> dict[str, Any]:
    """Describe an open bag."""
    found, images = scan(reader, FIELDS), _images(reader)
    topics = []
    for topic in sorted(reader.topics.values()):
        entry: dict[str, Any] = {**topic._asdict()}
        if topic.messages:
            entry |= _rates(found.topics[topic.name])
            if reader.has_header(topic.name):
                entry['header'] = _header(found.topics[topic.name].stamps())
        if flaw := reader.undefined(topic.name):
            entry['flaw'] = flaw
        if topic.name in images:
            entry['image'] = images[topic.name]
        topics.append(entry)

    def clock_of(names: list[str]) -> Clock:
        return choose_clock('auto', sample_stamps(reader, names))

    proposal = propose(reader.topics.values(), found, images, clock_of)
    _delay(reader, proposal)
    clock = proposal.clock
    if reader.bag.is_video:
        clock = Clock('presentation', f'a video of {reader.video}')
    return {
        'kind': 'video' if reader.bag.is_video else 'bag',
        'path': reader.where,
        'bytes': reader.bag.size(),
        'messages': reader.count,
        'seconds': round(max((reader.end - 1 - reader.start) / 1e9, 0.0), 3),
        'notes': reader.notes,
        'scanned': round(found.share, 3),
        'topics': topics,
        'robot': proposal.robot,
        'dataset': proposal.dataset,
        'clock': clock._asdict() if clock else None,
        'remarks': proposal.remarks,
    }


def _delay(reader: BagReader, proposal: Proposal) -> None:
    """Add the delay of the robot's reaction to the proposal, or a remark that it is unknown."""
    if not proposal.clock or 'action' in proposal.dataset:
        return
    delay = estimate_delay(reader, proposal.robot, proposal.clock.base)
    if delay is None:
        proposal.remarks.append(
            'dataset.command_delay: the delay from a command to the motion of the robot cannot be '
            'estimated from this bag; 0 s is assumed'
        )
        return
    proposal.remarks.append(
        f'dataset.command_delay: the image changes about {delay:.2g} s after a command'
    )
    if delay:
        proposal.dataset['command_delay'] = delay


def thumbnails(bag: Bag, count: int = 12) -> Array:
    """Return frames of the proposed camera, spread over a bag, side by side."""

    def read(reader: BagReader) -> Array:
        camera, _ = choose_camera(reader.topics.values(), _images(reader))
        tiles = []
        for message in reader.sample([camera.name], count) if camera else ():
            try:
                tiles.append(fit(to_rgb(reader.decode(message)), _THUMBNAIL, 'letterbox'))
            except CodecError:
                tiles.append(np.full((_THUMBNAIL, _THUMBNAIL, 3), (200, 0, 0), np.uint8))
        blank = np.zeros((_THUMBNAIL, _THUMBNAIL, 3), np.uint8)
        strip: Array = cv2.hconcat((tiles + [blank] * count)[:count])
        return strip

    return read_or_recover(bag, read)


def _rates(stats: TopicStats) -> dict[str, float]:
    """Return mean rate, median period and longest gap of a topic."""
    steps = stats.steps()
    steps = steps[steps >= 0]  # the clock may have stepped back
    if not len(steps) or not steps.sum() > 0:
        return {}
    return {
        'rate': round(len(steps) / float(steps.sum()), 3),
        'period': round(stats.period(), 9),
        'longest_gap': round(float(steps.max()), 3),
    }


def _header(stamps: Stamps | None) -> dict[str, float | str]:
    """Compare header stamps with receive times."""
    if stamps is None:
        return {'flaw': 'missing in some messages'}
    if (stamps.header <= 0).any():
        return {'flaw': 'stamp is zero'}
    ahead = stamps.offset()
    # The least delayed messages show the drift of the clocks, the others delays of the network.
    tenth = max(len(ahead) // 10, 1)
    begin, end = float(ahead[:tenth].max()), float(ahead[-tenth:].max())
    return {
        'offset': round(float(np.median(ahead)), 4),  # header minus receive [s]
        'drift': round(end - begin, 4),  # of the offset, over the bag [s]
        'latest': round(float((np.linspace(begin, end, len(ahead)) - ahead).max()), 4),  # [s]
    }


def _images(reader: BagReader) -> dict[str, dict[str, Any]]:
    """Describe each image topic by its first readable image, and later changes of size."""
    topics = [t.name for t in reader.topics.values() if t.type in IMAGE_TYPES and t.messages]
    found: dict[str, dict[str, Any]] = {}
    for message in reader.sample(topics, _SAMPLES) if topics else ():
        known = found.get(message.topic, {})
        if 'encoding' not in known:
            found[message.topic] = _image(reader, message)
        elif (size := _size(reader, message)) not in ('', known.get('later', _size_text(known))):
            known['later'] = size  # the last one counts
    return found


def _size_text(image: dict[str, Any]) -> str:
    return f'{image["width"]}x{image["height"]}'


def _size(reader: BagReader, message: Message) -> str:
    """Return the size of an image, '' if it is damaged."""
    try:
        return size_in_words(reader.decode(message))
    except CodecError:
        return ''


def _image(reader: BagReader, message: Message) -> dict[str, Any]:
    """Describe an image."""
    try:
        msg = reader.decode(message)
        height, width = to_rgb(msg).shape[:2]
    except (CodecError, MissingExtraError) as error:
        return {'flaw': str(error)}
    encoding = msg.encoding if hasattr(msg, 'encoding') else msg.format
    return {'width': width, 'height': height, 'encoding': encoding}

# SPDX-License-Identifier: Apache-2.0
"""
Decode the cameras of a bag that were recorded as video: packets of H.264 or H.265.

A packet needs those before it, from a keyframe on. `decoded` reads a stretch of a bag in order,
with one decoder for each topic, and begins at the keyframe before it. `picture_at` decodes one
packet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from smwm_ros.codec.video import (
    key_parts,
    ReorderedVideoError,
    SkippedPacketError,
    video_codec,
    VideoPicture,
    VideoStream,
)
from smwm_ros.config import IMAGE_TYPES, VIDEO_TYPES
from smwm_ros.errors import CodecError

if TYPE_CHECKING:
    from smwm_ros.bags.reading.reader import BagReader, Message

_SPAN = 2_000_000_000  # in which a keyframe is searched first [ns]
_WIDER = 4  # ratio of the next span to it


def decoded(
    reader: BagReader, topics: Collection[str], start: int | None = None, stop: int | None = None
) -> Iterator[Message]:
    """Yield messages as `reader.messages` does; those with a packet of video hold its picture."""
    streams = {topic: VideoStream() for topic in topics if _is_video(reader, topic)}
    begin = start
    if start is not None:
        begin = min([start, *(_last_keyframe(reader, topic, start) for topic in streams)])
    for message in reader.messages(topics, begin, stop):
        stream = streams.get(message.topic)
        picture = None if stream is None else _picture(reader, stream, message)
        if start is None or message.stamp >= start:
            yield message if picture is None else message._replace(picture=picture)


def picture_at(reader: BagReader, packet: Message) -> VideoPicture:
    """Return the picture of one packet, or raise."""
    for message in decoded(reader, [packet.topic], packet.stamp, packet.stamp + 1):
        if message.data == packet.data and message.picture is not None:
            return picture_of(message)
    raise CodecError(f'{packet.topic}: the packet is not in the bag')


def picture_of(message: Message) -> VideoPicture:
    """Return the picture of a message, or raise the error of its packet."""
    if isinstance(message.picture, VideoPicture):
        return message.picture
    assert message.picture is not None
    raise message.picture


def _is_video(reader: BagReader, topic: str) -> bool:
    """Return whether a topic has packets of video, of which a CompressedImage may be one."""
    kind = reader.topics[topic].type
    if kind not in IMAGE_TYPES[1:] or reader.undefined(topic):
        return False
    first = None if kind in VIDEO_TYPES else next(reader.sample([topic], 1), None)
    if first is not None:
        with suppress(CodecError):
            return bool(video_codec(reader.deserialise(first)))
    return kind in VIDEO_TYPES


def _picture(
    reader: BagReader, stream: VideoStream, message: Message
) -> VideoPicture | CodecError | None:
    """Return the picture of the next packet, or why there is none; None for an image."""
    try:
        msg = reader.deserialise(message)
        return stream.decode(msg) if video_codec(msg) else None
    except (SkippedPacketError, ReorderedVideoError) as error:
        return error
    except CodecError as error:
        stream.lose(str(error))
        seconds = (message.stamp - reader.start) / 1e9
        return CodecError(f'{message.topic}: the packet at {seconds:.3f} s: {error}')


def _last_keyframe(reader: BagReader, topic: str, time: int) -> int:
    """Return the receive time from which packets must be read to decode the one at a time [ns]."""
    span, low = _SPAN, time
    while low > reader.start:
        low = max(time - span, reader.start)
        found = sets = None
        for message in reader.messages([topic], low, time + 1):
            with suppress(CodecError):
                has_sets, is_key = key_parts(reader.deserialise(message))
                sets = message.stamp if has_sets else sets
                found = sets if is_key and sets is not None else found
        if found is not None:
            return found
        span *= _WIDER
    return low

# SPDX-License-Identifier: Apache-2.0
"""
Read camera messages; packets of video are decoded in order, from a keyframe on.

The plan node and `smwm watch` share this code, each with a queue of its own.
"""

from __future__ import annotations

from typing import Any, Protocol

from smwm_ros.codec.video import video_codec, VideoStream
from smwm_ros.nodes.messages import PACKETS


class CameraTopic(Protocol):
    """The topic of a camera."""

    name: str
    depth: int  # messages that may wait to be read


class PacketReader:
    """Reads the messages of all cameras, with one decoder for each topic of video."""

    def __init__(self) -> None:
        self._streams: dict[str, VideoStream] = {}
        self._numbers: dict[str, int] = {}  # of the last packet

    def picture(self, topic: CameraTopic, number: int, message: Any) -> Any:
        """
        Return an image message, or the picture of a packet of video; raise if it has none.

        number: how many messages of the topic were received, dropped or lost up to this one. The
        decoder refuses what follows a gap, until the next keyframe.
        """
        is_video = bool(video_codec(message))
        topic.depth = PACKETS if is_video else 1
        if not is_video:
            return message
        stream = self._streams.setdefault(topic.name, VideoStream())
        before = self._numbers.get(topic.name, number - 1)
        self._numbers[topic.name] = number
        if number != before + 1:
            stream.lose('packets are missing: they were dropped, lost or not readable')
        return stream.decode(message)

    def values(self) -> dict[str, int | bool]:
        """Return the values for /diagnostics, if a camera publishes video."""
        streams = list(self._streams.values())
        if not streams:
            return {}
        return {
            'video_packets': sum(stream.packets for stream in streams),
            'video_frames': sum(stream.frames for stream in streams),
            'video_waiting': any(stream.waiting for stream in streams),
        }

    def problems(self) -> list[str]:
        """Return which cameras have no picture until their next keyframe."""
        return [
            f'{topic}: no picture until the next keyframe: {stream.waiting}'
            for topic, stream in list(self._streams.items())
            if stream.waiting
        ]

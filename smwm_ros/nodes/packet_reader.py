# SPDX-License-Identifier: Apache-2.0
"""Read camera messages; packets of video are decoded in order, from a keyframe on."""

from __future__ import annotations

from typing import Any

from smwm_ros.codec.video import video_codec, VideoStream
from smwm_ros.nodes.messages import PACKETS
from smwm_ros.nodes.subscriber import PendingMessage, SubscribedTopic


class PacketReader:
    """Reads the messages of all cameras, with one decoder for each topic of video."""

    def __init__(self) -> None:
        self._streams: dict[SubscribedTopic, VideoStream] = {}
        self._missing: dict[SubscribedTopic, int] = {}  # packets, when the last one was read

    def read(self, received: PendingMessage) -> Any:
        """Return an image message, or the picture of a packet of video; raise if it has none."""
        topic = received.topic
        stream = self._streams.get(topic)
        try:
            message = received.read()
            is_video = bool(video_codec(message))
        except Exception as error:  # counted and reported by the caller
            if stream is not None:
                stream.lose(str(error))
            raise
        topic.depth = PACKETS if is_video else 1
        if not is_video:
            return message
        if stream is None:
            stream = self._streams[topic] = VideoStream()
        missing, before = topic.skipped + topic.lost, self._missing.get(topic)
        self._missing[topic] = missing
        if before not in (None, missing):
            stream.lose('packets are missing: the node or the middleware dropped some')
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
            f'{topic.name}: no picture until the next keyframe: {stream.waiting}'
            for topic, stream in list(self._streams.items())
            if stream.waiting
        ]

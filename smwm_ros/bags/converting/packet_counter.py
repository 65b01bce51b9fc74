# SPDX-License-Identifier: Apache-2.0
"""Count the packets of cameras that were recorded as video, apart from their frames."""

from __future__ import annotations

from collections import Counter

from smwm_ros.bags.reading.reader import BagReader, Message
from smwm_ros.codec.video import EARLY, ReorderedVideoError, SkippedPacketError, VideoPicture
from smwm_ros.errors import BagError
from smwm_ros.text import count_of

PACKETS = 'video packets'
REPLACED = 'frames replaced by a later one of their packet'


class PacketCounter:
    """Count packets in the counts of a shard."""

    def __init__(self, reader: BagReader, counts: Counter[str]) -> None:
        self._reader, self._counts = reader, counts
        self._early: Counter[str] = Counter()  # packets before the first keyframe, by topic

    def has_frame(self, message: Message) -> bool:
        """Count a message of a camera; return whether it holds a frame, which may be damaged."""
        picture = message.picture
        if picture is None:  # not video
            return True
        self._counts[PACKETS] += 1
        if isinstance(picture, ReorderedVideoError):
            raise BagError(f'{self._reader.where}: {message.topic}: {picture}')
        if isinstance(picture, SkippedPacketError):
            self._counts[picture.count] += 1
            self._early[message.topic] += picture.count == EARLY
            return False
        if isinstance(picture, VideoPicture) and picture.replaced:
            self._counts[REPLACED] += picture.replaced
        return True

    def check(self, frames: int) -> None:
        """Raise if there are packets without any frame."""
        if self._counts[PACKETS] and not frames:
            topics = ', '.join(self._early)
            raise BagError(
                f'{self._reader.where}: {topics}: none of {self._counts[PACKETS]} video packets '
                'is a keyframe with its parameter sets; record longer, or shorten the keyframe '
                'interval of the encoder'
            )

    def libraries(self) -> list[str]:
        """Return the libraries that read the recording."""
        if self._reader.bag.is_video:
            return ['av']
        return ['rosbags', *(['av'] if self._counts[PACKETS] else [])]

    def notes(self) -> list[str]:
        """Return how many packets before the first keyframe were left out."""
        return [
            f'{topic}: {count_of(count, "packet")} before the first keyframe left out: a video '
            'can be decoded from a keyframe on'
            for topic, count in self._early.items()
            if count
        ]

# SPDX-License-Identifier: Apache-2.0
"""
Read a video file like a bag with one topic: that of its camera.

A frame is stamped with its presentation time, and rotated as the file asks. Decoding uses one
thread and exact arithmetic, so that a file gives the same pixels each time. The packets are listed
first: this finds the times of the frames and the end of a truncated file without decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, ExitStack, suppress
from fractions import Fraction
import struct
from typing import Any, NamedTuple, TYPE_CHECKING

import numpy as np
from smwm_ros.bags.reading.find import VIDEOS
from smwm_ros.bags.reading.reader import BagReader, Message, Topic, VIDEO_TOPIC
from smwm_ros.codec.image_headers import MAX_PIXELS
from smwm_ros.codec.video import exact_pixels
from smwm_ros.config import IMAGE_TYPES
from smwm_ros.errors import BagError, CodecError, missing_extra
from smwm_ros.text import count_of

try:
    import av
except ImportError:
    raise missing_extra('reading a video', 'video', 'av') from None

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Only files of these formats, and none that they refer to.
_OPTIONS = {'format_whitelist': 'mov,mp4,matroska,webm,avi', 'protocol_whitelist': 'file'}
_MISSING_LENGTH = 1.1  # ratio of the listed to the found length from which frames are missing
_SIZE = struct.Struct('<II')  # width and height, before the pixels of a message


class VideoImage(NamedTuple):
    """A frame, with the fields of a sensor_msgs Image."""

    height: int
    width: int
    step: int
    data: memoryview
    encoding: str = 'rgb8'
    is_bigendian: int = 0


class VideoReader(BagReader):
    """One video file, opened by `with`."""

    def __enter__(self) -> VideoReader:
        """List the frames."""
        with self._opened() as (container, stream):
            found, packets, stopped = list[int](), 0, ''
            clock = _FrameClock(stream, self.where)
            try:
                for packet in _packets(container, stream):
                    packets += 1
                    if packet.size and not packet.is_discard:  # else it shows no new frame
                        found.append(clock.time(packet))
            except av.FFmpegError as error:
                stopped = f': {error.strerror}'
            if not found:
                raise BagError(f'{self.where}: the video has no frames{stopped}')
            self._times = np.sort(np.array(found, np.int64))
            self._describe(stream)
            self._note_missing(stream, packets, (container.duration or 0) / 1e6, stopped)
        self.topics[VIDEO_TOPIC] = Topic(VIDEO_TOPIC, IMAGE_TYPES[0], len(found))
        return self

    @property
    def start(self) -> int:
        """Return the time of the first frame [ns]."""
        return int(self._times[0])

    @property
    def end(self) -> int:
        """Return the time just after the last frame [ns]."""
        return int(self._times[-1]) + 1

    def messages(
        self, topics: Collection[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """Yield the frames from start to stop [ns]; one that cannot be decoded has no data."""
        if VIDEO_TOPIC not in topics:
            return
        with self._opened() as (container, stream):
            if start is not None and start > self.start and stream.time_base:
                with suppress(av.FFmpegError):  # without an index: read from the first frame on
                    offset = int(Fraction(start, 10**9) / stream.time_base)
                    container.seek(offset, stream=stream)
            count = 0
            for stamp, frame in _frames(container, stream, self.where):
                count += frame is not None
                if stop is not None and stamp >= stop:
                    return
                if start is None or stamp >= start:
                    yield Message(VIDEO_TOPIC, stamp, _pixels(frame) if frame else b'')
            if start is None:
                self._compare(count)

    def decode(self, message: Message) -> Any:
        """Return a frame as an image message."""
        if not message.data:
            seconds = (message.stamp - self.start) / 1e9
            raise CodecError(f'the frame at {seconds:.3f} s cannot be decoded')
        width, height = _SIZE.unpack_from(message.data)
        return VideoImage(height, width, 3 * width, memoryview(message.data)[_SIZE.size :])

    def undefined(self, topic: str) -> str:
        """Return '': a frame needs no definition."""
        return ''

    def has_header(self, topic: str) -> bool:
        """Return False: a frame has one time stamp."""
        return False

    def fields(self, kind: str) -> Any:
        """Return (): a frame has no numeric fields."""
        return ()

    def _select_type(self, name: str, kind: str) -> None:
        """Do nothing: the topic has one type."""

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """Open the file and its first video stream."""
        path = self.bag.paths[0]
        with ExitStack() as stack:
            try:
                container = stack.enter_context(av.open(f'file:{path}', 'r', options=_OPTIONS))
            except (av.FFmpegError, ValueError) as error:
                why = 'the file is empty' if not path.stat().st_size else _reason(error)
                raise BagError(
                    f'{path}: cannot be read as a video: {why}; expected a complete file of '
                    f'{", ".join(VIDEOS)}'
                ) from None
            picture = av.stream.Disposition.attached_pic  # the cover of an audio file
            streams = [each for each in container.streams.video if not each.disposition & picture]
            if not streams:
                raise BagError(f'{path}: has no video stream')
            codec = streams[0].codec_context
            if codec is None:
                raise BagError(f'{path}: there is no decoder for its video; convert it to H.264')
            if not 0 < codec.width * codec.height <= MAX_PIXELS:
                raise BagError(
                    f'{path}: video of {codec.width}x{codec.height}, expected 1 to {MAX_PIXELS} '
                    'pixels'
                )
            codec.thread_count = 1
            yield container, streams[0]

    def _describe(self, stream: VideoStream) -> None:
        """Describe the video."""
        codec, period = stream.codec_context, self._period()
        rate = f', {1 / period:.4g} Hz' if period else ''
        self.video = f'{codec.width}x{codec.height} pixels, {codec.name}{rate}'
        if len(stream.container.streams.video) > 1:
            self.notes.append('the file has several video streams; the first one is read')

    def _period(self) -> float:
        """Return the median time between frames [s]."""
        return float(np.median(np.diff(self._times))) / 1e9 if len(self._times) > 1 else 0.0

    def _note_missing(
        self, stream: VideoStream, packets: int, listed: float, stopped: str
    ) -> None:
        """Note that a file ends before the frames and the length [s] that its header lists."""
        length = (self.end - self.start) / 1e9 + self._period()
        if stopped or stream.frames > packets or listed > _MISSING_LENGTH * length + 1:
            frames = f'{stream.frames} frames in ' if stream.frames else ''
            self.notes.append(
                f'the file seems truncated: {count_of(packets, "frame")} in {length:.3g} s can be '
                f'read, its header lists {frames}{listed:.3g} s{stopped}'
            )

    def _compare(self, count: int) -> None:
        """Note the frames that were listed but not decoded; raise if that is all of them."""
        if not count:
            raise BagError(f'{self.where}: none of {len(self._times)} frames can be decoded')
        lost = len(self._times) - count
        note = f'{count_of(lost, "frame")} of {len(self._times)} cannot be decoded'
        if lost > 0 and note not in self.notes:
            self.notes.append(note)


class _FrameClock:
    """Compute the time of each frame, also where the file has no usable time stamps."""

    def __init__(self, stream: VideoStream, where: str) -> None:
        self._where = where
        self._unit = stream.time_base or Fraction(1, 10**9)
        # AVI numbers its packets in the order of decoding, which differs from that of display
        # where a codec has B frames; then only the decoding times ascend.
        is_avi = stream.container.format.name == 'avi'
        self._by_dts = is_avi and bool(stream.codec_context.has_b_frames)
        rate = stream.average_rate or stream.guessed_rate
        self._period = int(10**9 / rate) if rate else None
        self._last: int | None = None

    def time(self, item: Packet[VideoStream] | VideoFrame) -> int:
        """Return the time of the next packet or frame [ns]."""
        stamp = item.dts if self._by_dts or item.pts is None else item.pts
        if stamp is not None:
            self._last = round(stamp * self._unit * 10**9)
        elif self._period is None:
            raise BagError(
                f'{self._where}: the frames have no time stamps, and the file has no frame rate; '
                'convert the video to mp4 with a constant frame rate'
            )
        else:
            self._last = 0 if self._last is None else self._last + self._period
        return self._last


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of a stream."""
    for packet in container.demux(stream):
        if packet.size or packet.dts is not None:  # not the empty one at the end
            yield packet


def _frames(
    container: InputContainer, stream: VideoStream, where: str
) -> Iterator[tuple[int, VideoFrame | None]]:
    """Yield time [ns] and frame in the order of display; None where it cannot be decoded."""
    clock = _FrameClock(stream, where)
    with suppress(av.FFmpegError):  # of a truncated file; __enter__ noted it
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                yield clock.time(packet), None
                continue
            for frame in frames:
                yield clock.time(frame), None if frame.is_corrupt else frame


def _pixels(frame: VideoFrame) -> bytes:
    """Return size and pixels of a frame, upright."""
    if frame.width * frame.height > MAX_PIXELS:
        return b''
    rgb = exact_pixels(frame)
    upright = np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))
    height, width = upright.shape[:2]
    return b''.join([_SIZE.pack(width, height), upright.data])


def _reason(error: Exception) -> str:
    """Return what PyAV says about a file, without its path."""
    return getattr(error, 'strerror', None) or str(error)

# SPDX-License-Identifier: Apache-2.0
"""
Decode the packets of a camera that publishes H.264 or H.265, for bags and for the live node alike.

A packet shows only what changed, so one decoder reads all packets of a topic in order, from a
keyframe on. Where a packet is missing, the decoder would go on with wrong pixels and report
nothing: the pictures until the next keyframe are refused as damaged.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
import re
from statistics import median
from typing import Any, NamedTuple, TYPE_CHECKING

import cv2
from smwm_ros.codec.image_headers import MAX_PIXELS
from smwm_ros.codec.nal_units import H264, H265, Numbering, Picture, read_packet, SETS
from smwm_ros.codec.octets import octets
from smwm_ros.codec.stamps import in_nanoseconds
from smwm_ros.errors import CodecError, missing_extra
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

EARLY = 'video packets before the first keyframe'  # a name for their count
_NAMES = ((H264, r'(lib)?(x|h\.?)264|avc'), (H265, r'(lib)?(x|h\.?)265|hevc'))
_EXACT = 0x2 | 0x40000 | 0x80000  # swscale: bilinear, accurate rounding, equal on all processors
# Colours that OpenCV converts: several times as fast, and in exact arithmetic, too.
_BT601, _FULL_RANGE = (2, 5, 6), 2  # 2: not specified
_STEPS = 32  # between packets, of which the median is the usual one
_FEWEST_STEPS = 4
_PTS_GAP, _STAMP_GAP = 1.5, 3.5  # ratio to the usual step: numbers are exact, stamps are not


class SkippedPacketError(CodecError):
    """A packet without a picture, or before the first keyframe: nothing is damaged."""

    def __init__(self, why: str, count: str) -> None:
        super().__init__(why)
        self.count = count  # under which such packets are counted


class ReorderedVideoError(CodecError):
    """The pictures of a stream come in another order than its packets."""


class VideoHeader(NamedTuple):
    """Stamp and frame of a message, as in std_msgs/Header."""

    stamp: Any
    frame_id: str


class VideoPicture:
    """A decoded picture, with the fields of an image message; its pixels are made when read."""

    is_bigendian = 0

    def __init__(
        self, frame: VideoFrame, header: VideoHeader, encoding: str, replaced: int = 0
    ) -> None:
        self.height, self.width, self.step = frame.height, frame.width, 3 * frame.width
        self.header, self.encoding, self._frame = header, encoding, frame
        self.replaced = replaced  # pictures before it in the same packet

    @cached_property
    def rgb(self) -> Array:
        """Return the pixels (H, W, 3) uint8 RGB."""
        frame = self._frame
        usual = frame.format.name == 'yuv420p' and not (frame.width % 2 or frame.height % 2)
        if usual and frame.colorspace in _BT601 and frame.color_range != _FULL_RANGE:
            rgb: Array = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420)
            return rgb
        return exact_pixels(frame)

    @property
    def data(self) -> Array:
        """Return the bytes of the pixels (N,) uint8."""
        return self.rgb.reshape(-1)


def exact_pixels(frame: VideoFrame) -> Array:
    """Return the pixels of a frame of any format, (H, W, 3) uint8 RGB, alike on all processors."""
    pixels: Array = frame.to_ndarray(format='rgb24', interpolation=_EXACT)
    return pixels


def video_codec(msg: Any) -> str:
    """Return the codec of a video packet, '' for an image; raise if it is not supported."""
    is_packet = hasattr(msg, 'pts')  # FFMPEGPacket
    if not is_packet and not hasattr(msg, 'format'):
        return ''
    text = msg.encoding if is_packet else msg.format
    word = re.split(r'[;\s]', text.strip().lower(), maxsplit=1)[0]  # 'hevc;yuv420p;bgr8;bgr8'
    for codec, pattern in _NAMES:
        if re.match(pattern, word):
            return codec
    if is_packet or hasattr(msg, 'timestamp'):
        field = 'encoding' if is_packet else 'format'
        raise CodecError(f"{field} '{text}' of a video packet, expected h264, h265 or hevc")
    return ''


class VideoStream:
    """The decoder of one topic."""

    def __init__(self) -> None:
        self.packets = self.frames = 0
        self.waiting = 'no keyframe was received yet'  # why no picture can be decoded, or ''
        self._damaged = False  # it waits because packets were lost, not at the beginning
        self._codec = ''
        self._context: VideoCodecContext | None = None
        self._sets: dict[int, bytes] = {}
        self._numbering = Numbering(0, False, True)
        self._number: int | None = None  # of the last reference picture
        self._pts, self._stamps = _Steps(_PTS_GAP), _Steps(_STAMP_GAP)

    def lose(self, why: str) -> None:
        """Refuse all pictures until the next keyframe, because packets were lost."""
        if not self.waiting:
            self.waiting, self._damaged = why, True

    def decode(self, msg: Any) -> VideoPicture:
        """Return the picture of the next packet, the last one if it has several; or raise."""
        codec = video_codec(msg)
        self.packets += 1
        try:
            packet = read_packet(codec, octets(msg.data).tobytes(), self._known(codec))
        except CodecError as error:
            self.lose(str(error))
            raise
        if packet.numbering is not None:
            self._numbering = packet.numbering
        self._sets |= packet.sets
        header = header_of(msg)
        self._check_gaps(msg, header)
        frames = [frame for one in packet.pictures if (frame := self._frame(codec, one))]
        if not frames:
            self._refuse(bool(packet.pictures))
        self.frames += len(frames)
        return VideoPicture(frames[-1], header, codec, len(frames) - 1)

    def _known(self, codec: str) -> Numbering | None:
        """Return how frames are numbered, as far as it is known; begin anew with a new codec."""
        if codec != self._codec:
            self._context, self._sets = open_decoder(codec), {}  # raises without PyAV
            self._codec = codec
            self._numbering, self._number = Numbering(0, False, True), None
            self.waiting, self._damaged = 'no keyframe was received yet', False
        return self._numbering if self._numbering.bits else None

    def _check_gaps(self, msg: Any, header: VideoHeader) -> None:
        """Compare the number and the stamp of a packet with those before."""
        if self._pts.is_gap(int(getattr(msg, 'pts', 0))):
            self.lose('packets are missing: the pts skips numbers')
        if self._stamps.is_gap(in_nanoseconds(header.stamp)):
            self.lose('packets are missing: there is a gap between the stamps')

    def _frame(self, codec: str, picture: Picture) -> VideoFrame | None:
        """Decode a picture; None while waiting for a keyframe."""
        if picture.is_key and SETS[codec] <= self._sets.keys():
            self._begin(codec)
        elif self._skips(picture):
            self.lose('packets are missing: the frame number skips')
        if picture.is_reference:
            self._number = picture.number
        if self.waiting or self._context is None:
            return None
        sets = b''.join(self._sets.values()) if picture.is_key else b''
        frame = self._decoded(self._context, sets + picture.data)
        if frame is not None and frame.width * frame.height > MAX_PIXELS:
            raise CodecError(
                f'video of {frame.width}x{frame.height} is not read; expected at most '
                f'{MAX_PIXELS} pixels'
            )
        return frame

    def _begin(self, codec: str) -> None:
        """Start a decoder at a keyframe, if the last one cannot go on."""
        if self._context is None or self.waiting:
            self._context = open_decoder(codec)
        self.waiting, self._damaged = '', False

    def _skips(self, picture: Picture) -> bool:
        """Return whether reference pictures are missing before a picture."""
        if picture.number is None or self._number is None or self._numbering.gaps:
            return False
        following = (self._number + 1) % (1 << self._numbering.bits)
        return picture.number not in (self._number, following)

    def _decoded(self, context: VideoCodecContext, data: bytes) -> VideoFrame | None:
        """Decode one picture; None if it is damaged."""
        import av

        packet = av.Packet(data)
        packet.pts = self.packets
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            self.lose(f'the decoder reports: {error.strerror}')
            return None
        if context.has_b_frames or any(frame.pts != self.packets for frame in frames):
            raise ReorderedVideoError(
                'the video has B-frames: its pictures come in another order than its packets, so '
                'their stamps are not those of the packets; encode it without B-frames (bf=0, or '
                'tune=zerolatency)'
            )
        if not frames or frames[-1].is_corrupt:
            self.lose('the decoder reports a damaged picture')
            return None
        return frames[-1]

    def _refuse(self, has_picture: bool) -> None:
        """Raise because a packet gives no picture."""
        if not has_picture:
            why = 'the packet has no picture, only parameters of the video'
            raise SkippedPacketError(why, 'video packets without a picture')
        if self._damaged:
            raise CodecError(f'{self.waiting}; damaged until the next keyframe')
        raise SkippedPacketError(
            f'{count_of(self.packets, "video packet")} received, and none of them is a keyframe '
            'with its parameter sets',
            EARLY,
        )


class _Steps:
    """Find gaps in numbers that rise by about the same step."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._last: int | None = None
        self._steps: deque[int] = deque(maxlen=_STEPS)

    def is_gap(self, value: int) -> bool:
        """Add the next number; return whether the step to it is much larger than usual."""
        last, self._last = self._last, value
        if last is None or value <= last:  # not set, or the clock stepped back
            return False
        step = value - last
        usual = median(self._steps) if len(self._steps) >= _FEWEST_STEPS else step
        self._steps.append(step)
        return step > self._ratio * usual


def open_decoder(codec: str) -> VideoCodecContext:
    """Return a decoder that gives each picture at once, or raise without PyAV."""
    try:
        import av
    except ImportError:
        raise missing_extra('a camera that publishes video', 'video', 'av') from None
    context = av.CodecContext.create(codec, 'r')
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1  # more threads delay the pictures
    context.flags |= av.codec.context.Flags.low_delay
    context.options = {'err_detect': 'explode'}  # an error for a picture that it would conceal
    return context


def header_of(msg: Any) -> VideoHeader:
    """Return stamp and frame of a packet; CompressedVideo has them without a header."""
    if hasattr(msg, 'header'):
        return VideoHeader(msg.header.stamp, msg.header.frame_id)
    return VideoHeader(msg.timestamp, msg.frame_id)


def key_parts(msg: Any) -> tuple[bool, bool]:
    """Return whether a packet has parameter sets, and whether it has a keyframe."""
    packet = read_packet(video_codec(msg), octets(msg.data).tobytes(), None)
    return bool(packet.sets), any(picture.is_key for picture in packet.pictures)

# SPDX-License-Identifier: Apache-2.0
"""Video files, and streams of video packets, of known contents, for the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
import struct
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from smwm_ros.codec.video import SkippedPacketError
from smwm_ros.errors import CodecError

STEP = 8  # difference of the grey levels of two frames


def numbered(count: int, height: int = 48, width: int = 64) -> list[NDArray[Any]]:
    """Return grey frames that show their number, times STEP."""
    return [np.full((height, width, 3), STEP * number, np.uint8) for number in range(count)]


def write_video(
    path: Path,
    frames: Sequence[NDArray[Any]],
    rate: int = 10,
    codec: str = 'libx264',
    times: Sequence[int] | None = None,
    turned: bool = False,
) -> Path:
    """Write a video; times: of each frame [ms]; turned: by a quarter, clockwise, when shown."""
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.height, stream.width = frames[0].shape[:2]
        stream.options = {'crf': '10', 'b': '4M'}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if turned:
        data = bytearray(path.read_bytes())
        matrix = data.index(b'tkhd') + 4 + 40  # of the track, after its times, layer and volume
        data[matrix : matrix + 36] = struct.pack(
            '>9i', 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30
        )
        path.write_bytes(data)
    return path


def write_sound(path: Path) -> Path:
    """Write a file of sound only."""
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream('aac', rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return path


H264, H265 = 'h264', 'hevc'
_ENCODERS = {H264: 'libx264', H265: 'libx265'}


def encoded(
    frames: Sequence[NDArray[Any]],
    codec: str = H264,
    keyframes: int = 10,
    b_frames: int = 0,
    pixels: str = 'yuv420p',
    options: Mapping[str, str] | None = None,
) -> list[bytes]:
    """Encode frames to packets (annex B), with a keyframe every `keyframes` of them."""
    context: Any = av.CodecContext.create(_ENCODERS[codec], 'w')
    context.height, context.width = frames[0].shape[:2]
    context.pix_fmt, context.time_base, context.framerate = pixels, Fraction(1, 10), 10
    context.gop_size = keyframes
    words = {'crf': '10', 'preset': 'veryfast', 'bf': str(b_frames)}
    if codec == H265:
        one = 'pools=1:frame-threads=1'  # more threads do not encode alike each time
        params = f'log-level=none:repeat-headers=1:open-gop=0:keyint={keyframes}:{one}'
        words = {'preset': 'ultrafast', 'x265-params': f'{params}:bframes={b_frames}'}
    context.options = {**words, **(options or {})}
    found: list[bytes] = []
    for number, shown in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(shown, format='rgb24')
        frame.pts = number
        found += [bytes(packet) for packet in context.encode(frame)]
    return found + [bytes(packet) for packet in context.encode(None)]


def outcome(decode: Callable[[], Any]) -> str:
    """Return what becomes of a packet: 'good', 'early' or 'damaged'."""
    try:
        decode()
    except SkippedPacketError:
        return 'early'
    except CodecError:
        return 'damaged'
    return 'good'


def bare(packets: Sequence[bytes], codec: str = H264) -> list[NDArray[Any]]:
    """Decode packets with nothing but PyAV, and convert their planes with OpenCV."""
    context: Any = av.CodecContext.create(codec, 'r')
    frames = [frame for data in packets for frame in context.decode(av.Packet(data))]
    frames += context.decode(None)
    return [cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420) for frame in frames]


def moving(count: int, height: int = 48, width: int = 64) -> list[NDArray[Any]]:
    """Return smooth coloured frames that shift by two pixels from one to the next."""
    y, x = np.mgrid[0:height, 0 : width + 2 * count]
    wide = np.stack([x * 3 % 256, 2 * y + x, 255 - x], -1) % 256
    return [
        np.ascontiguousarray(wide[:, 2 * number : 2 * number + width], np.uint8)
        for number in range(count)
    ]

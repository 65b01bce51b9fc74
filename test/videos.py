# SPDX-License-Identifier: Apache-2.0
"""Video files of known contents, for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
import struct
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

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

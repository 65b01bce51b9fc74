# SPDX-License-Identifier: Apache-2.0
"""The decoder of a camera that publishes video finds keyframes and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import av
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from properties import examples
import pytest
from smwm_ros.codec.video import video_codec, VideoPicture, VideoStream
from smwm_ros.errors import CodecError
from videos import bare, encoded, H264, H265, moving, outcome

PERIOD = 33_000_000  # [ns]


def packet(data: bytes, stamp: int, codec: str = H264, pts: int | None = None) -> Any:
    """Return a CompressedImage, or with a pts an FFMPEGPacket; stamp [ns]."""
    seconds, rest = divmod(stamp, 10**9)
    stamped = SimpleNamespace(sec=seconds, nanosec=rest)
    header = SimpleNamespace(stamp=stamped, frame_id='eye')
    if pts is None:
        return SimpleNamespace(header=header, format=codec, data=data)
    return SimpleNamespace(header=header, encoding=codec, data=data, pts=pts)


def outcomes(messages: Sequence[Any]) -> list[str]:
    """Return what becomes of each packet of a stream."""
    stream = VideoStream()
    return [outcome(partial(stream.decode, msg)) for msg in messages]


@pytest.mark.parametrize(
    ('text', 'codec'),
    [
        ('h264', H264),
        ('H264', H264),
        ('h264; jpeg compressed bgr8', H264),
        ('libx264', H264),
        ('h264_nvenc', H264),
        ('h265', H265),
        ('HEVC', H265),
        (' H.265', H265),
        ('hevc;yuv420p;bgr8;bgr8', H265),
    ],
)
def test_the_codec_is_found_however_it_is_spelled(text: str, codec: str) -> None:
    assert video_codec(packet(b'', 0, text)) == codec
    assert video_codec(packet(b'', 0, text, pts=1)) == codec


@pytest.mark.parametrize('text', ['jpeg', 'bgr8; jpeg compressed bgr8', '16UC1; compressedDepth'])
def test_images_are_no_video(text: str) -> None:
    assert video_codec(packet(b'', 0, text)) == ''
    assert video_codec(SimpleNamespace(encoding='bgr8', data=b'')) == ''


@pytest.mark.parametrize(
    ('pixels', 'options'),
    [
        ('yuv420p', {'profile': 'baseline'}),
        ('yuv420p', {'profile': 'main', 'x264-params': 'slices=3'}),
        ('yuv420p', {'profile': 'high', 'x264-params': 'cqm=jvt'}),  # has scaling lists
        ('yuv420p', {'x264-params': 'interlaced=1'}),
        ('yuv422p', {'x264-params': 'aud=1:nal-hrd=cbr:vbv-maxrate=9000:vbv-bufsize=900'}),
        ('yuv444p', {'x264-params': 'cqm=jvt'}),
    ],
)
def test_a_missing_frame_number_is_noticed_in_every_profile(
    pixels: str, options: dict[str, str]
) -> None:
    frames = moving(60)  # frame numbers start anew after 16 or more
    packets = encoded(frames, keyframes=40, pixels=pixels, options=options)
    messages = [packet(data, number * PERIOD + 1) for number, data in enumerate(packets)]
    assert outcomes(messages) == ['good'] * 60
    del messages[30]
    assert outcomes(messages) == [*['good'] * 30, *['damaged'] * 9, *['good'] * 20]


def test_the_pictures_are_those_of_a_bare_decoder_with_their_stamps() -> None:
    packets = encoded(moving(12), keyframes=5)
    stream = VideoStream()
    for number, (data, expected) in enumerate(zip(packets, bare(packets), strict=True)):
        image = stream.decode(packet(data, number * PERIOD))
        assert np.array_equal(image.rgb, expected)
        assert image.header.stamp.nanosec == number * PERIOD
        assert (image.width, image.height, image.encoding) == (64, 48, H264)
    assert (stream.packets, stream.frames) == (12, 12)


@pytest.mark.parametrize(
    ('pixels', 'options', 'apart'),
    [
        ('yuv420p', {}, 4),  # PyAV rounds otherwise
        ('yuv420p', {'x264-params': 'colormatrix=bt709'}, 6),
        ('yuvj420p', {}, 4),
        ('yuv444p', {}, 1),
    ],
)
def test_the_colours_of_each_format_are_those_of_pyav(
    pixels: str, options: dict[str, str], apart: int
) -> None:
    packets = encoded(moving(4), pixels=pixels, options=options)
    context: Any = av.CodecContext.create(H264, 'r')
    stream = VideoStream()
    for number, data in enumerate(packets):
        (frame,) = context.decode(av.Packet(data))
        found = stream.decode(packet(data, number * PERIOD)).rgb.astype(int)
        assert np.abs(found - frame.to_ndarray(format='rgb24')).max() <= apart


@pytest.mark.parametrize('codec', [H264, H265])
def test_a_gap_in_the_pts_or_between_stamps_damages_all_until_the_next_keyframe(
    codec: str,
) -> None:
    packets = encoded(moving(30), codec, keyframes=20)
    expected = [*['good'] * 12, *['damaged'] * 8, *['good'] * 10]

    def skipped(number: int, count: int) -> int:
        return number + count * (number >= 12)

    numbered = [
        packet(data, n * PERIOD, codec, 3000 * skipped(n, 1)) for n, data in enumerate(packets)
    ]
    assert outcomes(numbered) == expected
    late = [packet(data, skipped(n, 4) * PERIOD, codec) for n, data in enumerate(packets)]
    assert outcomes(late) == expected
    slow = [packet(data, skipped(n, 1) * PERIOD, codec) for n, data in enumerate(packets)]
    assert outcomes(slow) == ['good'] * 30, 'a camera may skip a frame, which is no loss'


def test_stamps_that_are_not_set_are_no_gaps() -> None:
    packets = encoded(moving(12), keyframes=5)
    assert outcomes([packet(data, 0, pts=0) for data in packets]) == ['good'] * 12


def test_another_codec_on_the_same_topic_begins_anew() -> None:
    first, second = encoded(moving(5), H264), encoded(moving(5), H265)
    messages = [packet(data, n * PERIOD, H264) for n, data in enumerate(first)]
    messages += [
        packet(data, (5 + n) * PERIOD, H265) for n, data in enumerate(second[1:] + second)
    ]
    assert outcomes(messages) == [*['good'] * 5, *['early'] * 4, *['good'] * 5]


PACKETS = {codec: encoded(moving(6), codec, keyframes=3) for codec in (H264, H265)}


@examples(150)
@given(st.sampled_from([H264, H265]), st.data())
def test_damaged_bytes_raise_errors_of_one_kind_only(codec: str, draw: st.DataObject) -> None:
    stream = VideoStream()
    for number, whole in enumerate(PACKETS[codec]):
        data = bytearray(whole)
        for place, value in draw.draw(
            st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=3)
        ):
            data[place] = value
        if draw.draw(st.booleans()):
            del data[draw.draw(st.integers(0, len(data))) :]
        try:
            found = stream.decode(packet(bytes(data), number * PERIOD, codec))
        except CodecError:
            continue
        assert isinstance(found, VideoPicture)
        assert found.rgb.shape == (found.height, found.width, 3)

# SPDX-License-Identifier: Apache-2.0
"""Tests for codec/image_headers.py: sizes are known before anything is decoded."""

from array import array
import struct
from types import SimpleNamespace
import zlib

import cv2
import numpy as np
import pytest
from smwm_ros.codec.image_files import read_picture
from smwm_ros.codec.image_headers import MAX_PIXELS, size_of
from smwm_ros.codec.images import to_rgb
from smwm_ros.errors import CodecError, ConfigError

WEBP = [cv2.IMWRITE_WEBP_QUALITY]
FORMS = [
    ('.png', []),
    ('.jpg', []),
    ('.jpg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    ('.tiff', []),
    ('.tiff', [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
    ('.webp', [*WEBP, 80]),
    ('.webp', [*WEBP, 101]),  # without loss, which is another kind of chunk
]


@pytest.mark.parametrize(('suffix', 'words'), FORMS)
@pytest.mark.parametrize(('width', 'height'), [(1, 1), (640, 480), (33, 1200), (4000, 17)])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_the_header_says_what_decoding_gives(suffix, words, width, height, channels):
    picture = np.zeros((height, width, channels), np.uint8)
    written, data = cv2.imencode(suffix, picture, words)
    assert written
    assert size_of(data.tobytes()) == (width, height)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape[:2] == (height, width)


def test_segments_before_the_frame_of_a_jpeg_are_passed_over():
    data = cv2.imencode('.jpg', np.zeros((30, 40, 3), np.uint8))[1].tobytes()
    comment = b'\xff\xfe' + struct.pack('>H', 60_000) + b'\xff' * 59_998
    assert size_of(data[:2] + comment * 3 + b'\xff' + data[2:]) == (40, 30)


@pytest.mark.parametrize(('suffix', 'words'), FORMS)
def test_what_ends_within_its_header_or_is_something_else_has_no_size(suffix, words):
    data = cv2.imencode(suffix, np.zeros((30, 40, 3), np.uint8), words)[1].tobytes()
    for length in range(20):
        assert size_of(data[:length]) is None
    assert size_of(bytes(reversed(data))) is None


def test_random_bytes_after_a_known_beginning_raise_nothing():
    rng = np.random.default_rng(0)
    for beginning in (
        b'\xff\xd8\xff',
        b'II*\0',
        b'MM\0*',
        b'RIFF1234WEBPVP8 ',
        b'RIFF1234WEBPVP8X',
    ):
        for length in (0, 7, 30, 3000):
            for _ in range(50):
                size_of(beginning + rng.bytes(length))


def png(width, height):
    """Return the first bytes of a PNG, and an end; whoever decodes it needs the memory first."""
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunks = b''
    for name, body in ((b'IHDR', head), (b'IDAT', zlib.compress(b'\0' * 1000)), (b'IEND', b'')):
        chunks += struct.pack('>I', len(body)) + name + body
        chunks += struct.pack('>I', zlib.crc32(name + body))
    return b'\x89PNG\r\n\x1a\n' + chunks


@pytest.fixture
def no_decoder(monkeypatch):
    """Fail when anything is decoded."""

    def refuse(*_):
        raise AssertionError('it was decoded')

    monkeypatch.setattr(cv2, 'imdecode', refuse)
    monkeypatch.setattr(cv2, 'imread', refuse)


@pytest.mark.parametrize('size', [(12_000, 12_000), (30_000, 30_000), (MAX_PIXELS + 1, 1), (0, 9)])
def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(no_decoder, tmp_path, size):
    data = png(*size)
    message = SimpleNamespace(format='png', data=array('B', data))
    with pytest.raises(CodecError, match=f'image of {size[0]}x{size[1]} is not decoded'):
        to_rgb(message)
    depth = SimpleNamespace(format='16UC1; compressedDepth png', data=array('B', bytes(12) + data))
    with pytest.raises(CodecError, match='not decoded'):
        to_rgb(depth)
    file = tmp_path / 'goal.png'
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=r'goal\.png: cannot be read: .* not decoded'):
        read_picture(file, 16, 'stretch')


def test_what_is_no_picture_is_not_given_to_the_decoder(no_decoder):
    bmp = b'BM' + bytes(100)
    with pytest.raises(CodecError, match='expected png, jpeg, tiff or webp'):
        to_rgb(SimpleNamespace(format='bmp', data=array('B', bmp)))


def test_a_png_with_a_part_that_claims_more_than_there_is_is_not_given_to_the_decoder(
    no_decoder, tmp_path
):
    whole = png(16, 16)
    body = whole.index(b'IDAT')
    long = whole[: body - 4] + struct.pack('>I', 2**31 - 9) + whole[body:]
    for data in (long, whole[:-1], whole[:-12], whole[: body + 9], whole[:33]):
        with pytest.raises(CodecError, match='truncated or damaged'):
            to_rgb(SimpleNamespace(format='png', data=array('B', data)))
        (tmp_path / 'goal.png').write_bytes(data)
        with pytest.raises(
            ConfigError, match=r'goal\.png: cannot be read: .* truncated or damaged'
        ):
            read_picture(tmp_path / 'goal.png', 16, 'stretch')
    with pytest.raises(AssertionError, match='it was decoded'):
        to_rgb(SimpleNamespace(format='png', data=array('B', whole + b'more')))

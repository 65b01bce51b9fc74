# SPDX-License-Identifier: Apache-2.0
"""One conversion turns every image message into the pixels it means, or says why it cannot."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pickle import PickleBuffer
import struct
from types import SimpleNamespace
from typing import Any

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
from properties import examples
import pytest
from smwm_ros.codec.images import (
    compose,
    ENCODINGS,
    fill_image,
    fit,
    read_image,
    read_view,
    RESIZE,
    size_in_words,
    tiles,
    to_rgb,
)
from smwm_ros.codec.octets import octets
from smwm_ros.errors import CodecError

Pixels = NDArray[Any]
SIZES = st.integers(1, 9)
CHANNEL_ORDER = {
    'rgb8': [0, 1, 2],
    'bgr8': [2, 1, 0],
    '8UC3': [2, 1, 0],
    'rgba8': [0, 1, 2, 0],
    'bgra8': [2, 1, 0, 0],
    '8UC4': [2, 1, 0, 0],
    'rgb16': [0, 1, 2],
    'bgr16': [2, 1, 0],
    'rgba16': [0, 1, 2, 0],
    'bgra16': [2, 1, 0, 0],
    '16UC3': [2, 1, 0],
    '16UC4': [2, 1, 0, 0],
}


def message(encoding: str, raster: Pixels, pad: int = 0, big: bool = False) -> Any:
    """Make an Image of (H, W, C) values, with padding bytes of 0xAB after each row."""
    rows = raster.astype(raster.dtype.newbyteorder('>' if big else '<'))
    lines = [row.tobytes() + b'\xab' * pad for row in rows]
    return SimpleNamespace(
        height=raster.shape[0],
        width=raster.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=len(lines[0]),
        data=np.frombuffer(b''.join(lines), np.uint8),
    )


def compressed(form: str, data: bytes) -> Any:
    return SimpleNamespace(format=form, data=np.frombuffer(data, np.uint8))


def random_rgb(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth_rgb(height: int, width: int) -> Pixels:
    """Make colours that change slowly, so that subsampled chroma keeps them."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [60 + 2 * x, 60 + 2 * y, np.full_like(x, 120)]
    return np.stack(planes, -1).astype(np.uint8)


@examples(60)
@given(st.sampled_from(sorted(CHANNEL_ORDER)), SIZES, SIZES, st.integers(0, 7), st.booleans())
def test_colour_survives_any_order_depth_padding_and_byte_order(
    encoding: str, height: int, width: int, pad: int, big: bool
) -> None:
    rgb = random_rgb(height, width, pad)
    raster = rgb[..., CHANNEL_ORDER[encoding]]
    if '16' in encoding:
        raster = raster.astype(np.uint16) * 256 + 77  # the lower 8 bits are dropped
    assert (to_rgb(message(encoding, raster, pad, big)) == rgb).all()


@examples(30)
@given(
    st.sampled_from(['mono8', '8UC1', 'mono16']), SIZES, SIZES, st.integers(0, 5), st.booleans()
)
def test_grey_is_the_same_in_three_channels(
    encoding: str, height: int, width: int, pad: int, big: bool
) -> None:
    grey = random_rgb(height, width)[..., :1]
    raster = grey.astype(np.uint16) * 256 if encoding == 'mono16' else grey
    assert (to_rgb(message(encoding, raster, pad, big)) == grey).all()


@examples(30)
@given(SIZES, SIZES, st.integers(0, 5), st.booleans())
def test_depth_of_ten_metres_is_white_and_nothing_measured_is_black(
    height: int, width: int, pad: int, big: bool
) -> None:
    metres = np.random.default_rng(pad).uniform(0, 14, (height, width, 1))
    metres[0, 0] = 0
    shown = np.minimum(metres, 10) * 25.5
    raster = (metres * 1000).round().astype(np.uint16)
    assert np.abs(to_rgb(message('16UC1', raster, pad, big)) - shown).max() <= 0.6
    raster = metres.astype(np.float32)
    raster[0, 0] = np.nan
    assert np.abs(to_rgb(message('32FC1', raster, pad, big)) - shown).max() <= 0.6
    raster = raster.astype(np.float64)
    assert np.abs(to_rgb(message('64FC1', raster, pad, big)) - shown).max() <= 0.6
    signed = (metres * 1000).round().astype(np.int16)
    signed[0, 0] = -5
    assert np.abs(to_rgb(message('16SC1', signed, pad, big)) - shown).max() <= 0.6


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_name_their_first_row(pattern: str, bits: int) -> None:
    colour = np.array([200, 120, 40])
    mosaic = np.zeros((12, 16, 1), np.uint16)
    for index, letter in enumerate(pattern):
        mosaic[index // 2 :: 2, index % 2 :: 2] = colour['rgb'.index(letter)]
    raster = mosaic.astype(np.uint8) if bits == 8 else mosaic * 256
    inner = to_rgb(message(f'bayer_{pattern}{bits}', raster))[2:-2, 2:-2]
    assert (inner == colour).all()


@pytest.mark.parametrize('pad', [0, 6])
@pytest.mark.parametrize(
    'encoding', ['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21', 'nv24']
)
def test_subsampled_colour_comes_back(encoding: str, pad: int) -> None:
    rgb = smooth_rgb(24, 32)
    planar = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)  # limited range, as cameras send it
    luma = planar[:24]
    u, v = (plane.reshape(12, 16) for plane in planar[24:].reshape(2, -1))
    if encoding == 'nv24':
        full = np.stack([u, v], -1).repeat(2, 0).repeat(2, 1)
        raster = np.vstack([luma, full.reshape(48, 32)])[..., None]
    elif encoding.startswith('nv'):
        pair = (u, v) if encoding == 'nv12' else (v, u)
        raster = np.vstack([luma, np.stack(pair, -1).reshape(12, 32)])[..., None]
    else:
        chroma = np.stack([u, v], -1).repeat(2, 0).reshape(24, 32)
        pair = (luma, chroma) if 'yuy' in encoding else (chroma, luma)
        raster = np.stack(pair, -1)
    msg = message(encoding, raster, pad)
    msg.height = 24
    if encoding == 'nv24' and pad:
        with pytest.raises(CodecError, match='expected rows without padding'):
            to_rgb(msg)
        return
    assert np.abs(to_rgb(msg).astype(int) - rgb).max() <= 6


def test_pictures_are_decompressed() -> None:
    rgb = smooth_rgb(24, 32)
    bgr = rgb[..., ::-1]
    png = cv2.imencode('.png', bgr)[1].tobytes()
    assert (to_rgb(compressed('rgb8; png compressed bgr8', png)) == rgb).all()
    jpeg = cv2.imencode('.jpg', bgr)[1].tobytes()
    assert np.abs(to_rgb(compressed('jpeg', jpeg)).astype(int) - rgb).max() <= 12
    alpha = cv2.imencode('.png', np.dstack([bgr, bgr[..., :1]]))[1].tobytes()
    assert (to_rgb(compressed('png', alpha)) == rgb).all()
    grey = cv2.imencode('.png', rgb[..., 0])[1].tobytes()
    assert (to_rgb(compressed('mono8; png compressed ', grey)) == rgb[..., :1]).all()


def test_sixteen_bit_pictures_keep_their_meaning() -> None:
    wide = random_rgb(8, 9).astype(np.uint16) * 256 + 5
    png = cv2.imencode('.png', wide[..., ::-1])[1].tobytes()
    assert (to_rgb(compressed('rgb16; png compressed', png)) == wide >> 8).all()
    one = cv2.imencode('.png', wide[..., 0])[1].tobytes()
    assert (to_rgb(compressed('mono16; png compressed', one)) == wide[..., :1] >> 8).all()
    depth = cv2.imencode('.png', np.full((3, 4), 5000, np.uint16))[1].tobytes()
    assert (to_rgb(compressed('16UC1; png compressed ', depth)) == 128).all()


def test_packed_depth_is_unpacked() -> None:
    metres = np.random.default_rng(0).uniform(0.5, 9, (6, 7)).astype(np.float32)
    scale, offset = 100 * 101.0, 100 * 101.0 / 100 + 1  # as the transport plug-in chooses them
    inverse = (scale / metres + offset).round().astype(np.uint16)
    inverse[0, 0] = 0
    png = cv2.imencode('.png', inverse)[1].tobytes()
    head = np.array([0], '<i4').tobytes() + np.array([scale, offset], '<f4').tobytes()
    shown = to_rgb(compressed('32FC1; compressedDepth png', head + png))[..., 0]
    assert shown[0, 0] == 0
    assert np.abs(shown.ravel()[1:] - metres.ravel()[1:] * 25.5).max() <= 2
    png = cv2.imencode('.png', np.full((3, 4), 10000, np.uint16))[1].tobytes()
    assert (to_rgb(compressed('16UC1; compressedDepth', bytes(12) + png)) == 255).all()


@examples(40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.sampled_from(RESIZE))
def test_an_image_of_one_colour_fits_any_square(
    height: int, width: int, size: int, how: str
) -> None:
    rgb = np.full((height, width, 3), (10, 120, 250), np.uint8)
    square = fit(rgb, size, how)
    assert square.shape == (size, size, 3)
    inside = square.any(-1)
    assert (square[inside] == (10, 120, 250)).all()
    assert inside.all() or how == 'letterbox'
    assert np.array_equal(fit(square, size, how), square)


def test_the_three_ways_to_fit_keep_what_they_promise() -> None:
    rgb = np.zeros((20, 40, 3), np.uint8)
    rgb[:, 10:30] = 200  # the middle half
    assert (fit(rgb, 10, 'crop') == 200).all()
    assert (fit(rgb, 8, 'stretch')[:, 2:6] == 200).all()
    assert not fit(rgb, 8, 'stretch')[:, [0, 1, 6, 7]].any()
    letterbox = fit(rgb, 8, 'letterbox')
    assert not letterbox[[0, 1, 6, 7]].any()
    assert (letterbox[2:6, 2:6] == 200).all()
    with pytest.raises(CodecError, match="did you mean 'stretch'"):
        fit(rgb, 8, 'strech')


def rvl(depth: Pixels) -> bytes:
    """Compress depth (H, W) uint16 as RVL."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while True:
            number, low = number >> 3, number & 7
            nibbles.append(low | (8 if number else 0))
            if not number:
                return

    values, at, last = depth.ravel().astype(int).tolist(), 0, 0
    while at < len(values):
        for wanted in (False, True):
            begin = at
            while at < len(values) and bool(values[at]) == wanted:
                at += 1
            put(at - begin)
        for value in values[begin:at]:
            step, last = value - last, value
            put((step << 1) ^ (step >> 63))
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles, np.uint32).reshape(-1, 8)
    packed = (words << np.arange(28, -4, -4, dtype=np.uint32)).sum(1).astype('<u4').tobytes()
    return struct.pack('<iffII', 0, 0, 0, *depth.shape[::-1]) + packed


@examples(60)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_rvl_depth_is_unpacked(height: int, width: int, seed: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    depth = rng.integers(1, 65536, (height, width)).astype(np.uint16)
    depth[rng.random((height, width)) < holes] = 0
    packed = to_rgb(compressed('16UC1; compressedDepth rvl', rvl(depth)))
    assert (packed == to_rgb(message('16UC1', depth[..., None]))).all()


@examples(200)
@given(st.integers(0, 70), st.binary(max_size=30), st.booleans())
def test_damaged_rvl_gives_pixels_or_a_codec_error(keep: int, tail: bytes, whole: bool) -> None:
    data = rvl(np.arange(48, dtype=np.uint16).reshape(6, 8) % 7 * 900)
    data = (data if whole else data[:keep]) + tail
    try:
        rgb = to_rgb(compressed('16UC1; compressedDepth rvl', data))
    except CodecError as error:
        assert 'compressedDepth rvl' in str(error)  # noqa: PT017
    else:
        assert rgb.shape[2] == 3


@pytest.mark.parametrize('layout', ['row', 'grid'])
@given(st.integers(1, 9), st.integers(16, 70))
def test_tiles_lie_in_the_square_side_by_side(layout: str, count: int, size: int) -> None:
    covered = np.zeros((size, size), int)
    for tile in tiles(count, size, layout):
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert covered.max() == 1
    columns = {'row': count, 'grid': int(np.ceil(np.sqrt(count)))}[layout]
    rows = -(-count // columns)
    cell = (size // columns + 1) * (size // rows + 1)
    assert (covered == 0).sum() <= (rows * columns - count) * cell


def test_views_are_composed_in_reading_order() -> None:
    places = tiles(3, 9, 'grid')
    views = [np.full((t.height, t.width, 3), n + 1, np.uint8) for n, t in enumerate(places)]
    square = compose(views, 9, 'grid')
    assert square[[0, 0, 8, 8], [0, 8, 0, 8], 0].tolist() == [1, 2, 3, 0]
    many = compose([np.stack([view, view]) for view in views], 9, 'grid')
    assert (many == square).all()


@pytest.mark.parametrize('how', RESIZE)
def test_one_view_is_the_image_itself(how: str) -> None:
    msg = message('rgb8', random_rgb(13, 17))
    (tile,) = tiles(1, 16, 'row')
    view = read_view(msg, tile.height, tile.width, how, 'own')
    assert (compose([view], 16, 'row') == read_image(msg, 16, how, 'own')).all()


def test_a_view_keeps_its_shape_or_fills_its_tile() -> None:
    msg = message('rgb8', np.full((20, 40, 3), 200, np.uint8))
    assert (read_view(msg, 16, 8, 'stretch', 'own') == 200).all()
    assert (read_view(msg, 16, 8, 'crop', 'own') == 200).all()
    boxed = read_view(msg, 16, 8, 'letterbox', 'own')
    assert (boxed[6:10] == 200).all()
    assert not boxed[[0, 5, 10, 15]].any()


@examples(40)
@given(st.sampled_from(['rgb8', 'bgr8', 'mono8', 'jpeg', 'png']), st.sampled_from(RESIZE), SIZES)
def test_reading_at_a_size_is_conversion_then_fit(source: str, how: str, size: int) -> None:
    rgb = random_rgb(13, 17)
    if source in ('jpeg', 'png'):
        msg = compressed(source, cv2.imencode(f'.{source}', rgb)[1].tobytes())
    else:
        msg = message(source, rgb[..., :1] if source == 'mono8' else rgb, pad=3)
    assert np.array_equal(read_image(msg, size, how, 'own'), fit(to_rgb(msg), size, how))


def test_a_filled_image_reads_back() -> None:
    rgb = random_rgb(5, 7)
    for pixels in (rgb, rgb[:, ::-1]):
        assert (to_rgb(fill_image(SimpleNamespace(encoding=''), pixels)) == pixels).all()


def test_an_image_shorter_than_it_claims_is_refused() -> None:
    msg = message('rgb8', random_rgb(4, 5))
    msg.height, msg.width, msg.step, msg.data = 480, 640, 1920, msg.data[:30]
    with pytest.raises(CodecError, match='rgb8 image of 640x480 has 30 bytes, expected 921600'):
        to_rgb(msg)


def test_an_unknown_encoding_lists_the_known_ones() -> None:
    msg = message('rgb', random_rgb(4, 5))
    with pytest.raises(CodecError, match="encoding 'rgb' is unknown; did you mean 'rgb8'"):
        to_rgb(msg)


@pytest.mark.parametrize(
    ('height', 'width', 'step', 'encoding', 'what'),
    [
        (0, 4, 12, 'rgb8', 'at least 1x1'),
        (4, 4, 11, 'rgb8', '12 bytes a row'),
        (4, 5, 10, 'yuyv', 'an even width'),
        (3, 4, 4, 'nv12', 'even sizes'),
    ],
)
def test_impossible_sizes_are_refused(
    height: int, width: int, step: int, encoding: str, what: str
) -> None:
    msg = message(encoding, random_rgb(9, 9))
    msg.height, msg.width, msg.step = height, width, step
    with pytest.raises(CodecError, match=what):
        to_rgb(msg)


@pytest.mark.parametrize('form', ['jpg', 'png'])
def test_a_picture_that_is_cut_off_is_refused(form: str) -> None:
    data = cv2.imencode(f'.{form}', random_rgb(40, 50))[1].tobytes()
    with pytest.raises(CodecError, match='is truncated'):
        to_rgb(compressed(form, data[: len(data) // 2]))


@pytest.mark.parametrize('form', ['jpeg', 'png', 'h264', '16UC1; compressedDepth png'])
@pytest.mark.parametrize('data', [b'', b'nonsense of more than twelve bytes'])
def test_what_is_no_picture_is_refused(form: str, data: bytes) -> None:
    with pytest.raises(CodecError, match=r'cannot be decoded|expected 12 bytes and a PNG'):
        to_rgb(compressed(form, data))


def test_what_is_no_image_message_is_refused() -> None:
    with pytest.raises(CodecError, match='SimpleNamespace is not an image'):
        to_rgb(SimpleNamespace(data=[1.0]))


@examples(200)
@given(
    st.sampled_from(ENCODINGS),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 40),
    st.booleans(),
    st.binary(max_size=200),
)
def test_any_nonsense_gives_pixels_or_a_codec_error(
    encoding: str, height: int, width: int, step: int, big: bool, data: bytes
) -> None:
    msg = SimpleNamespace(
        height=height, width=width, step=step, encoding=encoding, is_bigendian=big, data=data
    )
    try:
        rgb = to_rgb(msg)
    except CodecError as error:
        assert f'{encoding} image of {width}x{height}' in str(error)  # noqa: PT017
    else:
        assert rgb.shape == (height, width, 3)
        assert rgb.dtype == np.uint8


class OnlyBytes:
    """Data that bytes() alone can read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data


class OnlyNumbers:
    """Data that can be read number by number alone."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[int]:
        return iter(self._data)


class LikeRosidlBuffer:
    """Data with the methods of rosidl_buffer.Buffer alone."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def to_array(self) -> array[int]:
        return array('B', self._data)


@pytest.mark.parametrize('kind', [PickleBuffer, OnlyBytes, OnlyNumbers, LikeRosidlBuffer, list])
def test_the_bytes_of_a_message_are_read_whatever_holds_them(kind: Any) -> None:
    rgb = random_rgb(6, 5)
    raw = message('rgb8', rgb, pad=2)
    raw.data = kind(raw.data.tobytes())
    assert (to_rgb(raw) == rgb).all()
    packed = compressed('png', cv2.imencode('.png', rgb[..., ::-1])[1].tobytes())
    packed.data = kind(packed.data.tobytes())
    assert (to_rgb(packed) == rgb).all()
    assert size_in_words(packed) == '5x6'


@pytest.mark.parametrize('kind', [bytes, bytearray, PickleBuffer, lambda data: array('B', data)])
def test_bytes_with_the_buffer_protocol_are_not_copied(kind: Any) -> None:
    data = kind(bytes(range(100)))
    found = octets(data)
    assert found.tolist() == list(range(100))
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    assert octets(np.arange(100, dtype=np.uint8)[::2]).tolist() == list(range(0, 100, 2))
    assert octets(kind(b'')).size == 0


@pytest.mark.parametrize('data', [7, None, 'text', [256], [0.5]])
def test_what_holds_no_bytes_is_an_error(data: Any) -> None:
    raw = message('rgb8', random_rgb(2, 2))
    raw.data = data
    with pytest.raises(CodecError, match=f'of type {type(data).__name__}, expected bytes'):
        to_rgb(raw)

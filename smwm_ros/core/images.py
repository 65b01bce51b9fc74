# SPDX-License-Identifier: Apache-2.0
"""
The one way from an image message to pixels, for bags and for the live node alike.

Messages are read by their field names (encoding, step, is_bigendian, data, format), so those of
rclpy and of rosbags both fit. Everything becomes (H, W, 3) uint8 RGB: grey is repeated, alpha is
dropped, 16-bit light keeps its upper 8 bits, and depth of 0 to 10 m becomes 0 to 255, with 0
where nothing was measured. 8UC3 and 8UC4 count as BGR and BGRA, as OpenCV has it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
import struct
from typing import Any, NamedTuple

import cv2
import numpy as np
from smwm_ros.core.interfaces import Array
from smwm_ros.errors import CodecError, did_you_mean

FAR = 10.0  # depth that is shown as 255 [m]
RESIZE = ('stretch', 'letterbox', 'crop')
_DEPTH = ('16UC1', '32FC1')


class _Layout(NamedTuple):
    """How an encoding lays out a pixel, and how its raster becomes three channels."""

    dtype: str
    channels: int
    convert: Callable[[Array], Array]
    bgr: bool = False  # three channels, in the order blue, green, red


def _grey(raster: Array) -> Array:
    return np.repeat(raster[..., :1], 3, axis=-1)


def _first_three(raster: Array) -> Array:
    return raster if raster.shape[-1] == 3 else np.ascontiguousarray(raster[..., :3])


def _cv(code: int) -> Callable[[Array], Array]:
    """Make a conversion that OpenCV knows."""

    def convert(raster: Array) -> Array:
        rgb: Array = cv2.cvtColor(np.ascontiguousarray(raster), code)
        return rgb

    return convert


def _metres(raster: Array) -> Array:
    """Show depth in metres (H, W, 1) as grey; what is no number or not positive is black."""
    known = np.where(np.isfinite(raster), raster, 0.0)
    return _grey((np.clip(known, 0.0, FAR) * (255 / FAR)).round().astype(np.uint8))


def _millimetres(raster: Array) -> Array:
    return _metres(raster.astype(np.float32) / 1000)


# The letters of a bayer pattern name the first row; OpenCV's older names start at pixel (1, 1).
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_UYVY = _Layout('u1', 2, _cv(cv2.COLOR_YUV2RGB_UYVY))
_YUYV = _Layout('u1', 2, _cv(cv2.COLOR_YUV2RGB_YUY2))
_LAYOUTS = {
    'mono8': _Layout('u1', 1, _grey),
    '8UC1': _Layout('u1', 1, _grey),
    'mono16': _Layout('u2', 1, _grey),
    'rgb8': _Layout('u1', 3, _first_three),
    'bgr8': _Layout('u1', 3, _first_three, bgr=True),
    '8UC3': _Layout('u1', 3, _first_three, bgr=True),
    'rgba8': _Layout('u1', 4, _first_three),
    'bgra8': _Layout('u1', 4, _first_three, bgr=True),
    '8UC4': _Layout('u1', 4, _first_three, bgr=True),
    'rgb16': _Layout('u2', 3, _first_three),
    'bgr16': _Layout('u2', 3, _first_three, bgr=True),
    'rgba16': _Layout('u2', 4, _first_three),
    'bgra16': _Layout('u2', 4, _first_three, bgr=True),
    '16UC1': _Layout('u2', 1, _millimetres),
    '32FC1': _Layout('f4', 1, _metres),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _Layout('u1', 1, _cv(cv2.COLOR_YUV2RGB_NV12)),
    'nv21': _Layout('u1', 1, _cv(cv2.COLOR_YUV2RGB_NV21)),
    **{f'bayer_{name}8': _Layout('u1', 1, _cv(code)) for name, code in _BAYER.items()},
    **{f'bayer_{name}16': _Layout('u2', 1, _cv(code)) for name, code in _BAYER.items()},
}
ENCODINGS = tuple(sorted(_LAYOUTS))


def to_rgb(msg: Any) -> Array:
    """Return the pixels of an Image or CompressedImage, (H, W, 3) uint8; maybe a view on it."""
    pixels, bgr = _decode(msg)
    rgb: Array = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if bgr else pixels
    return rgb


def fit(rgb: Array, size: int, how: str) -> Array:
    """Make an image (H, W, 3) square (size, size, 3); identity where it already is."""
    height, width = rgb.shape[:2]
    if height == width == size:
        return rgb
    if how == 'stretch':
        return _resize(rgb, size, size)
    if how == 'crop':
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resize(rgb[top : top + side, left : left + side], size, size)
    if how == 'letterbox':
        scale = size / max(height, width)
        inside = _resize(rgb, max(round(width * scale), 1), max(round(height * scale), 1))
        top, left = (size - inside.shape[0]) // 2, (size - inside.shape[1]) // 2
        square = np.zeros((size, size, 3), np.uint8)
        square[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return square
    raise CodecError(f"resize '{how}': {did_you_mean(how, RESIZE)}")


def read_image(msg: Any, size: int, how: str) -> Array:
    """Return the pixels of a message as a square: fit(to_rgb(msg)), only faster."""
    pixels, bgr = _decode(msg)
    small = fit(pixels, size, how)  # resizing treats channels alike, so their order can wait
    square: Array = cv2.cvtColor(small, cv2.COLOR_BGR2RGB) if bgr else small
    return square


def fill_image(msg: Any, rgb: Array) -> Any:
    """Write pixels (H, W, 3) uint8 into an rclpy Image or CompressedImage, and return it."""
    height, width = rgb.shape[:2]
    data = array('B')
    if hasattr(msg, 'format'):
        data.frombytes(cv2.imencode('.png', rgb[..., ::-1])[1].data.cast('B'))
        msg.format, msg.data = 'png', data
        return msg
    # The only form that is fast with and without rclpy's field checks; others take 0.2 s.
    data.frombytes(np.ascontiguousarray(rgb, dtype=np.uint8).data.cast('B'))
    msg.height, msg.width, msg.step = height, width, 3 * width
    msg.encoding, msg.is_bigendian = 'rgb8', 0
    msg.data = data
    return msg


def _decode(msg: Any) -> tuple[Array, bool]:
    """Return three channels of 8 bit, and whether they are in the order blue, green, red."""
    if hasattr(msg, 'encoding'):
        return _decode_raw(msg)
    if hasattr(msg, 'format'):
        return _decode_compressed(msg.format, np.frombuffer(msg.data, np.uint8))
    raise CodecError(f'{type(msg).__name__} is no image; expected Image or CompressedImage')


def _decode_raw(msg: Any) -> tuple[Array, bool]:
    """Convert a sensor_msgs Image."""
    layout = _LAYOUTS.get(msg.encoding)
    if layout is None:
        hint = did_you_mean(msg.encoding, ENCODINGS)
        raise CodecError(f"image encoding '{msg.encoding}' is not known; {hint}")
    raster = _raster(msg, layout)
    if layout.dtype == 'u2' and msg.encoding not in _DEPTH:
        raster = (raster >> 8).astype(np.uint8)
    return layout.convert(raster), layout.bgr


def _raster(msg: Any, layout: _Layout) -> Array:
    """View the bytes as (H, W, C), honouring padded rows and byte order; sizes come first."""
    height, width, name = int(msg.height), int(msg.width), msg.encoding
    rows = height
    if name in ('nv12', 'nv21'):  # a half-height plane of colour follows
        if height % 2 or width % 2:
            raise CodecError(f'{name} image of {width}x{height}: expected even sizes')
        rows = height * 3 // 2
    if name.startswith(('yuv', 'yuyv', 'uyvy')) and width % 2:
        raise CodecError(f'{name} image of {width}x{height}: expected an even width')
    data = np.frombuffer(msg.data, np.uint8)
    dtype = np.dtype(layout.dtype).newbyteorder('>' if msg.is_bigendian else '<')
    line = width * layout.channels * dtype.itemsize  # bytes of a row without padding
    step = int(msg.step) or line  # some drivers leave it 0
    if not rows or not width or step < line:
        raise CodecError(
            f'{name} image of {width}x{height} with step {step}: expected at least 1x1 pixels '
            f'and {line} bytes a row'
        )
    needed = step * (rows - 1) + line  # the last row may lack its padding
    if data.size < needed:
        raise CodecError(
            f'{name} image of {width}x{height} holds {data.size} bytes, expected {step * rows}'
        )
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)
    shape = (rows, width, layout.channels)
    raster: Array = np.ndarray(shape, dtype, data, 0, strides)
    return raster


def _decode_compressed(form: str, data: Array) -> tuple[Array, bool]:
    """Convert a sensor_msgs CompressedImage: jpeg, png, or compressedDepth."""
    source = form.split(';')[0].strip()  # '16UC1; png compressed': what it was made from
    if 'compressedDepth' in form:
        return _decode_depth(form, source, data), False
    head = data[:8].tobytes()
    # A picture without its end would be filled up with grey, and nobody would know.
    whole = {b'\xff\xd8': b'\xff\xd9', b'\x89P': b'IEND'}.get(head[:2])
    if whole is not None and data.tobytes().rfind(whole) < 0:
        raise CodecError(f"'{form}' image of {data.size} bytes is cut off")
    flag = cv2.IMREAD_UNCHANGED if head[:2] == b'\x89P' else cv2.IMREAD_COLOR
    pixels = _imdecode(form, data, flag)
    if pixels.dtype == np.uint16:
        if pixels.ndim == 2 and source != 'mono16':
            return _millimetres(pixels[..., None]), False
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return _grey(pixels[..., None]), False
    return _first_three(pixels), True


def _decode_depth(form: str, source: str, data: Array) -> Array:
    """Convert depth as compressed_depth_image_transport packs it: 12 bytes, then a PNG."""
    if data.size < 12 or 'rvl' in form.lower():
        raise CodecError(f"'{form}' image of {data.size} bytes: expected 12 bytes and a PNG")
    _, scale, offset = struct.unpack('<iff', data[:12].tobytes())
    code = _imdecode(form, data[12:], cv2.IMREAD_UNCHANGED)
    if code.ndim != 2 or source not in _DEPTH:
        raise CodecError(f"'{form}' image is no depth image; expected 16UC1 or 32FC1")
    if source == '16UC1':
        return _millimetres(code[..., None])
    # Inverse depth was stored: code = scale / metres + offset, and 0 where nothing was seen.
    known = code > offset
    metres = np.where(known, scale / np.where(known, code - np.float32(offset), 1), 0.0)
    return _metres(metres[..., None])


def _imdecode(form: str, data: Array, flag: int) -> Array:
    """Decompress, or say what could not be."""
    try:
        pixels: Array | None = cv2.imdecode(data, flag) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise CodecError(
            f"'{form}' image of {data.size} bytes cannot be decoded; expected jpeg or png"
        )
    return pixels


def _resize(rgb: Array, width: int, height: int) -> Array:
    """Resize: averaging where the image shrinks, smoothly where it grows."""
    rows, cols = rgb.shape[:2]
    if rows < height or cols < width:
        large: Array = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
        return large
    # Averaging 2x2 pixels is ten times as fast as any other ratio, and a whole image of it loses
    # no more than the rounding; the last step still averages over two pixels and more.
    while rows % 2 == 0 and cols % 2 == 0 and rows >= 4 * height and cols >= 4 * width:
        rows, cols = rows // 2, cols // 2
        rgb = cv2.resize(rgb, (cols, rows), interpolation=cv2.INTER_AREA)
    small: Array = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return small

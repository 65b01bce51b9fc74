# SPDX-License-Identifier: Apache-2.0
"""
Convert image messages to pixels, for bags and for the live node alike.

Messages are read by their field names (encoding, step, is_bigendian, data, format), so messages of
rclpy and of rosbags both work. The result is (H, W, 3) uint8 RGB: grey is repeated, alpha is
dropped, 16-bit intensity keeps its upper 8 bits, and depth of 0 to 10 m becomes 0 to 255, with 0
where it is unknown. 8UC3 and 8UC4 are read as BGR and BGRA, as in OpenCV. With the decoder
cv_bridge, cv_bridge converts encodings with colours, and the others mean the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any, NamedTuple

import cv2
import numpy as np
from smwm_ros.codec import bridge, image_headers
from smwm_ros.codec.depth import read_depth
from smwm_ros.codec.encodings import first_three, grey, Layout, LAYOUTS, metres, millimetres
from smwm_ros.codec.octets import octets
from smwm_ros.codec.transport import COMPRESSED, RAW
from smwm_ros.codec.video import video_codec, VideoPicture
from smwm_ros.config import CV_BRIDGE, OWN, VIDEO_TYPES
from smwm_ros.errors import CodecError, ConfigError, did_you_mean
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

RESIZE = ('stretch', 'letterbox', 'crop')
_DEPTH = ('16UC1', '32FC1')
_PLANES = {'nv12': 3, 'nv21': 3, 'nv24': 6}  # rows of the raster for two rows of pixels
ENCODINGS = tuple(sorted(LAYOUTS))


def to_rgb(msg: Any, decoder: str = OWN) -> Array:
    """Return the pixels of an Image or CompressedImage, (H, W, 3) uint8, perhaps as a view."""
    pixels, bgr = _decode(msg, decoder)
    rgb: Array = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if bgr else pixels
    return rgb


def fit(rgb: Array, size: int, how: str) -> Array:
    """Resize an image (H, W, 3) to (size, size, 3), unless it has that size."""
    return _fit(rgb, size, size, how)


def read_image(msg: Any, size: int, how: str, decoder: str) -> Array:
    """Return the pixels of a message as a square: the same as fit(to_rgb(msg)), but faster."""
    return read_view(msg, size, size, how, decoder)


def read_view(msg: Any, height: int, width: int, how: str, decoder: str) -> Array:
    """Return the pixels of a message as one tile (height, width, 3) of a composed image."""
    pixels, bgr = _decode(msg, decoder)
    small = _fit(pixels, height, width, how)  # first: few pixels are converted faster
    view: Array = cv2.cvtColor(small, cv2.COLOR_BGR2RGB) if bgr else small
    return view


def size_in_words(msg: Any) -> str:
    """Return WIDTHxHEIGHT of an image, or '' if its header does not contain it."""
    if hasattr(msg, 'width'):
        return f'{msg.width}x{msg.height}'
    size = image_headers.size_of(octets(msg.data).data)
    return '{}x{}'.format(*size) if size else ''


class Tile(NamedTuple):
    """The rectangle of one camera in a composed image [px]."""

    top: int
    left: int
    height: int
    width: int


def tiles(count: int, size: int, layout: str) -> list[Tile]:
    """Divide a square into `count` tiles: in a 'row', or in a 'grid' that is filled row by row."""
    columns = count if layout == 'row' else ceil(sqrt(count))
    rows = ceil(count / columns)
    across = [size * column // columns for column in range(columns + 1)]
    down = [size * row // rows for row in range(rows + 1)]
    places = [divmod(number, columns) for number in range(count)]
    return [
        Tile(down[row], across[col], down[row + 1] - down[row], across[col + 1] - across[col])
        for row, col in places
    ]


def compose(views: Sequence[Array], size: int, layout: str) -> Array:
    """Compose views, which have the sizes of the tiles, to a square (..., size, size, 3)."""
    if len(views) == 1:
        return views[0]
    square = np.zeros((*views[0].shape[:-3], size, size, 3), np.uint8)
    for view, tile in zip(views, tiles(len(views), size, layout), strict=True):
        bottom, right = tile.top + tile.height, tile.left + tile.width
        square[..., tile.top : bottom, tile.left : right, :] = view
    return square


def require_writable(kind: str) -> None:
    """Raise unless images can be written as messages of a type."""
    if kind in VIDEO_TYPES:
        raise ConfigError(
            f'robot.camera.type: {kind} is read from cameras and bags alone, expected '
            f'{RAW} or {COMPRESSED} for an arena'
        )


def fill_image(msg: Any, rgb: Array) -> Any:
    """
    Write pixels (H, W, 3) uint8 into an rclpy Image or CompressedImage, and return it.

    Pixels (H, W, 4) with an alpha channel fit into an Image. Where cv_bridge is installed, it
    makes the message; its bytes are the same without.
    """
    rgb = np.ascontiguousarray(rgb, dtype=np.uint8)
    if bridge.fill(msg, rgb):
        return msg
    height, width, channels = rgb.shape
    data = array('B')
    if hasattr(msg, 'format'):
        data.frombytes(cv2.imencode('.png', rgb[..., ::-1])[1].data.cast('B'))
        msg.format, msg.data = 'png', data
        return msg
    # array('B') is the only type that is fast with rclpy's field checks; others take 0.2 s.
    data.frombytes(rgb.data.cast('B'))
    msg.height, msg.width, msg.step = height, width, channels * width
    msg.encoding, msg.is_bigendian = 'rgba8' if channels == 4 else 'rgb8', 0
    msg.data = data
    return msg


def _decode(msg: Any, decoder: str) -> tuple[Array, bool]:
    """Return pixels (H, W, 3) uint8, and whether they are in the order blue, green, red."""
    if isinstance(msg, VideoPicture):
        return msg.rgb, False
    if codec := video_codec(msg):
        raise CodecError(
            f'a packet of {codec} video cannot be decoded as an image; expected png or jpeg'
        )
    if hasattr(msg, 'encoding'):
        return _decode_raw(msg, decoder)
    if hasattr(msg, 'format'):
        return _decode_compressed(msg.format, octets(msg.data), decoder)
    raise CodecError(f'{type(msg).__name__} is not an image; expected Image or CompressedImage')


def _decode_raw(msg: Any, decoder: str) -> tuple[Array, bool]:
    """Convert a sensor_msgs Image."""
    layout = LAYOUTS.get(msg.encoding)
    if layout is None:
        hint = did_you_mean(msg.encoding, ENCODINGS)
        raise CodecError(f"image encoding '{msg.encoding}' is unknown; {hint}")
    raster = _raster(msg, layout)
    if decoder == CV_BRIDGE and bridge.has_colours(msg.encoding):
        return bridge.to_rgb(msg, raster), False
    if layout.dtype == 'u2' and msg.encoding not in _DEPTH:
        raster = (raster >> 8).astype(np.uint8)
    return layout.convert(raster), layout.bgr


def _raster(msg: Any, layout: Layout) -> Array:
    """Return the data as an array (H, W, C), with its row padding and byte order."""
    height, width, name = int(msg.height), int(msg.width), msg.encoding
    rows = height
    if name in _PLANES:  # luma rows, then chroma rows
        if height % 2 or width % 2:
            raise CodecError(f'{name} image of {width}x{height}: expected even sizes')
        rows = height * _PLANES[name] // 2
        if name == 'nv24' and msg.step not in (0, width):
            raise CodecError(f'nv24 image of {width}x{height}: expected rows without padding')
    if name.startswith(('yuv', 'yuyv', 'uyvy')) and width % 2:
        raise CodecError(f'{name} image of {width}x{height}: expected an even width')
    data = octets(msg.data)
    dtype = np.dtype(layout.dtype).newbyteorder('>' if msg.is_bigendian else '<')
    line = width * layout.channels * dtype.itemsize  # bytes of a row without padding
    step = int(msg.step) or line  # some drivers leave it at 0
    if not rows or not width or step < line:
        raise CodecError(
            f'{name} image of {width}x{height} with step {step}: expected at least 1x1 pixels '
            f'and {count_of(line, "byte")} a row'
        )
    needed = step * (rows - 1) + line  # the last row may lack its padding
    if data.size < needed:
        raise CodecError(
            f'{name} image of {width}x{height} has {count_of(data.size, "byte")}, expected '
            f'{step * rows}'
        )
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)
    shape = (rows, width, layout.channels)
    raster: Array = np.ndarray(shape, dtype, data, 0, strides)
    return raster


def _decode_compressed(form: str, data: Array, decoder: str) -> tuple[Array, bool]:
    """Convert a sensor_msgs CompressedImage: jpeg, png, or compressedDepth."""
    source = form.split(';')[0].strip()  # '16UC1; png compressed': encoding of the original
    if decoder == CV_BRIDGE:
        pixels = bridge.decompress(form, data)
    elif 'compressedDepth' in form:
        depth = read_depth(form, data, lambda body: _imdecode(form, body, cv2.IMREAD_UNCHANGED))
        return metres(depth), False
    else:
        is_png = data[:2].tobytes() == b'\x89P'
        pixels = _imdecode(form, data, cv2.IMREAD_UNCHANGED if is_png else cv2.IMREAD_COLOR)
    if pixels.dtype == np.uint16:
        if pixels.ndim == 2 and source != 'mono16':
            return millimetres(pixels[..., None]), False
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return grey(pixels[..., None]), False
    return first_three(pixels), True


def _imdecode(form: str, data: Array, flag: int) -> Array:
    """Decode the bytes of an image file, or raise a CodecError."""
    image_headers.check(form, data.data)
    try:
        pixels: Array | None = cv2.imdecode(data, flag)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise CodecError(
            f"'{form}' image of {count_of(data.size, 'byte')} cannot be decoded; expected "
            f'{image_headers.FORMATS}'
        )
    return pixels


def _fit(rgb: Array, height: int, width: int, how: str) -> Array:
    """Resize an image (H, W, 3) to (height, width, 3)."""
    rows, cols = rgb.shape[:2]
    if (rows, cols) == (height, width):
        return rgb
    if how == 'stretch':
        return _resize(rgb, width, height)
    if how == 'crop':
        high, wide = (
            min(rows, max(cols * height // width, 1)),
            min(cols, max(rows * width // height, 1)),
        )
        top, left = (rows - high) // 2, (cols - wide) // 2
        return _resize(rgb[top : top + high, left : left + wide], width, height)
    if how == 'letterbox':
        scale = min(width / cols, height / rows)
        inside = _resize(rgb, max(round(cols * scale), 1), max(round(rows * scale), 1))
        top, left = (height - inside.shape[0]) // 2, (width - inside.shape[1]) // 2
        whole = np.zeros((height, width, 3), np.uint8)
        whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return whole
    raise CodecError(f"resize '{how}': {did_you_mean(how, RESIZE)}")


def _resize(rgb: Array, width: int, height: int) -> Array:
    """Resize by averaging to a smaller size, and by linear interpolation to a larger one."""
    rows, cols = rgb.shape[:2]
    if rows < height or cols < width:
        large: Array = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
        return large
    # Averaging 2x2 pixels is ten times as fast as other ratios, and costs only rounding errors.
    # The last step still averages over two or more pixels per side.
    while rows % 2 == 0 and cols % 2 == 0 and rows >= 4 * height and cols >= 4 * width:
        rows, cols = rows // 2, cols // 2
        rgb = cv2.resize(rgb, (cols, rows), interpolation=cv2.INTER_AREA)
    small: Array = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return small

# SPDX-License-Identifier: Apache-2.0
"""The encodings of sensor_msgs/Image: pixel layout and conversion to RGB."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from smwm_ros.interfaces import Array

FAR = 10.0  # depth that is shown as 255 [m]


class Layout(NamedTuple):
    """The pixel layout of an encoding, and the conversion of its raster to three channels."""

    dtype: str
    channels: int
    convert: Callable[[Array], Array]
    bgr: bool = False  # the result is in the order blue, green, red


def grey(raster: Array) -> Array:
    """Repeat the first channel of (..., C) three times."""
    return np.repeat(raster[..., :1], 3, axis=-1)


def first_three(raster: Array) -> Array:
    """Drop the channels after the third one."""
    return raster if raster.shape[-1] == 3 else np.ascontiguousarray(raster[..., :3])


def _cv(code: int) -> Callable[[Array], Array]:
    """Return a conversion by an OpenCV code."""

    def convert(raster: Array) -> Array:
        rgb: Array = cv2.cvtColor(np.ascontiguousarray(raster), code)
        return rgb

    return convert


def metres(raster: Array) -> Array:
    """Convert depth (H, W, 1) [m] to grey; values that are not finite or not positive are 0."""
    known = np.where(np.isfinite(raster), raster, 0.0)
    return grey((np.clip(known, 0.0, FAR) * (255 / FAR)).round().astype(np.uint8))


def millimetres(raster: Array) -> Array:
    """Convert depth (H, W, 1) [mm] to grey."""
    return metres(raster.astype(np.float32) / 1000)


def _nv24(raster: Array) -> Array:
    """Convert a luma and a chroma plane, which is subsampled to NV12 because OpenCV lacks NV24."""
    height, width = raster.shape[0] // 3, raster.shape[1]
    colour = np.ascontiguousarray(raster[height:]).reshape(height, width, 2)[::2, ::2]
    nv12 = np.concatenate([raster[:height, :, 0], colour.reshape(height // 2, width)])
    rgb: Array = cv2.cvtColor(nv12, cv2.COLOR_YUV2RGB_NV12)
    return rgb


# The letters of a bayer pattern name the first row; OpenCV's older names start at pixel (1, 1).
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_UYVY = Layout('u1', 2, _cv(cv2.COLOR_YUV2RGB_UYVY))
_YUYV = Layout('u1', 2, _cv(cv2.COLOR_YUV2RGB_YUY2))
LAYOUTS = {
    'mono8': Layout('u1', 1, grey),
    '8UC1': Layout('u1', 1, grey),
    'mono16': Layout('u2', 1, grey),
    'rgb8': Layout('u1', 3, first_three),
    'bgr8': Layout('u1', 3, first_three, bgr=True),
    '8UC3': Layout('u1', 3, first_three, bgr=True),
    'rgba8': Layout('u1', 4, first_three),
    'bgra8': Layout('u1', 4, first_three, bgr=True),
    '8UC4': Layout('u1', 4, first_three, bgr=True),
    'rgb16': Layout('u2', 3, first_three),
    'bgr16': Layout('u2', 3, first_three, bgr=True),
    'rgba16': Layout('u2', 4, first_three),
    'bgra16': Layout('u2', 4, first_three, bgr=True),
    '16UC3': Layout('u2', 3, first_three, bgr=True),
    '16UC4': Layout('u2', 4, first_three, bgr=True),
    '16UC1': Layout('u2', 1, millimetres),
    '16SC1': Layout('i2', 1, millimetres),
    '32FC1': Layout('f4', 1, metres),
    '64FC1': Layout('f8', 1, metres),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': Layout('u1', 1, _cv(cv2.COLOR_YUV2RGB_NV12)),
    'nv21': Layout('u1', 1, _cv(cv2.COLOR_YUV2RGB_NV21)),
    'nv24': Layout('u1', 1, _nv24),
    **{f'bayer_{name}8': Layout('u1', 1, _cv(code)) for name, code in _BAYER.items()},
    **{f'bayer_{name}16': Layout('u2', 1, _cv(code)) for name, code in _BAYER.items()},
}

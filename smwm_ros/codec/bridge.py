# SPDX-License-Identifier: Apache-2.0
"""
Convert images with the installed cv_bridge: those of cameras if asked to, and published ones.

cv_bridge is optional. Its versions differ in padded rows and in the byte order of others, and some
return wrong pixels for them without an error. So it receives rows without padding, in the byte
order of this machine. Encodings without colours, such as 8UC3 and 32FC1, are not for it: it only
returns them as they are.
"""

from __future__ import annotations

from array import array
from functools import cache
from importlib.metadata import PackageNotFoundError, version
import os
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
from smwm_ros.codec import image_headers
from smwm_ros.config import CV_BRIDGE
from smwm_ros.errors import CodecError, ConfigError, one_line
from smwm_ros.interfaces import Array

_FAILED = (TypeError, ValueError, LookupError, RuntimeError, AttributeError, cv2.error)
_OWN = 'set robot.camera.decoder=own'
ABSENT = 'is not installed'  # how such a problem begins
_PNG, _PNG_DEPTH = b'\x89P', 24  # first bytes, and the place of the bits of a channel


class Installed(NamedTuple):
    """A CvBridge, or what is wrong with it and what to do."""

    bridge: Any = None
    problem: str = ''
    remedy: str = ''


@cache
def installed() -> Installed:
    """Import cv_bridge and try it, once in a process."""
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        _try(bridge)
    except ModuleNotFoundError as error:
        distribution = os.environ.get('ROS_DISTRO') or '$ROS_DISTRO'
        missing = '' if error.name == CV_BRIDGE else f', as {error.name} is missing'
        return Installed(
            None,
            f'{ABSENT}{missing}',
            f'sudo apt install ros-{distribution}-cv-bridge (without ROS: python3-cv-bridge), and '
            'use a virtual environment with --system-site-packages',
        )
    except Exception as error:  # a build for another numpy or OpenCV raises many types
        return Installed(
            None,
            f'does not work here ({one_line(error)})',
            'it needs the numpy and the OpenCV that it was built with, those of apt',
        )
    return Installed(bridge)


def require() -> Any:
    """Return a CvBridge, or raise a ConfigError that says what to do."""
    found = installed()
    if found.bridge is None:
        raise ConfigError(
            f'robot.camera.decoder: cv_bridge, but it {found.problem}: {found.remedy}; or {_OWN}'
        )
    return found.bridge


def check_decoder(decoder: str) -> None:
    """Raise a ConfigError if a decoder is cv_bridge and cv_bridge cannot be used."""
    if decoder == CV_BRIDGE:
        require()


def versions(decoder: str) -> dict[str, str]:
    """Return the version of cv_bridge if it is the decoder, for the description of a dataset."""
    if decoder != CV_BRIDGE:
        return {}
    try:
        return {CV_BRIDGE: version(CV_BRIDGE)}
    except PackageNotFoundError:
        return {CV_BRIDGE: 'unknown'}


def has_colours(encoding: str) -> bool:
    """Return whether an encoding names colours; '16UC1' names only a type."""
    return not encoding[:1].isdigit()


def to_rgb(msg: Any, raster: Array) -> Array:
    """Return the pixels (H, W, 3) uint8 RGB of an Image, from its raster (rows, W, C)."""
    height, width, name = int(msg.height), int(msg.width), msg.encoding
    try:
        rgb: Array = require().imgmsg_to_cv2(_plain(height, width, name, raster), 'rgb8')
    except _FAILED as error:
        raise _refusal(name, one_line(error)) from None
    if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
        raise _refusal(name, f'it returned {rgb.dtype} of shape {rgb.shape}')
    return rgb


def decompress(form: str, data: Array) -> Array:
    """Return the pixels (H, W) or BGR (H, W, C) of a CompressedImage, uint8 or uint16."""
    if 'compressedDepth' in form:
        raise _refusal(form, 'it cannot read depth of this transport')
    image_headers.check(form, data.data)
    try:
        message = SimpleNamespace(format=form, data=data)
        pixels: Array | None = require().compressed_imgmsg_to_cv2(message)
    except _FAILED as error:
        raise _refusal(form, one_line(error)) from None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise _refusal(form, f'it returned {None if pixels is None else pixels.dtype}')
    # On Humble it reduces all pictures to 8 bits, which would be wrong for depth.
    if pixels.dtype == np.uint8 and data[:2].tobytes() == _PNG and data[_PNG_DEPTH] == 16:
        raise _refusal(form, 'it returned 8 of its 16 bits')
    return pixels


def fill(msg: Any, pixels: Array) -> bool:
    """Write pixels (H, W, 3 or 4) uint8 into a message, if there is a cv_bridge that works."""
    bridge = installed().bridge
    if bridge is None:
        return False
    if hasattr(msg, 'format'):
        made = bridge.cv2_to_compressed_imgmsg(pixels[..., ::-1], 'png')
        msg.format = made.format
    else:
        made = bridge.cv2_to_imgmsg(pixels, 'rgba8' if pixels.shape[2] == 4 else 'rgb8')
        msg.height, msg.width, msg.step = made.height, made.width, made.step
        msg.encoding, msg.is_bigendian = made.encoding, int(made.is_bigendian)
    # array('B') is the only type that is fast with rclpy's field checks.
    msg.data = made.data if isinstance(made.data, array) else array('B', made.data)
    return True


def _try(bridge: Any) -> None:
    """Convert small images both ways, and raise if a result is wrong."""
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    made = bridge.cv2_to_imgmsg(rgb, 'rgb8')
    if (made.encoding, made.step, bytes(made.data)) != ('rgb8', 9, rgb.tobytes()):
        raise ValueError('cv2_to_imgmsg returns an unexpected message')
    dark, bright = np.array([[[4660]]], np.uint16), np.array([[[65535]]], np.uint16)
    for name, raster, expected in (
        ('bgr8', rgb[..., ::-1], rgb),
        ('mono16', dark, [[[18, 18, 18]]]),
        ('mono16', bright, [[[255, 255, 255]]]),
    ):
        plain = _plain(raster.shape[0], raster.shape[1], name, raster)
        if not np.array_equal(bridge.imgmsg_to_cv2(plain, 'rgb8'), expected):
            raise ValueError(f'imgmsg_to_cv2 returns unexpected pixels of {name}')


def _plain(height: int, width: int, encoding: str, raster: Array) -> SimpleNamespace:
    """Return an Image without padding, in the byte order of this machine."""
    data = np.ascontiguousarray(raster, raster.dtype.newbyteorder('='))
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        step=data[0].nbytes,
        data=data,
    )


def _refusal(what: str, reason: str) -> CodecError:
    """Return the error of an image that cv_bridge cannot convert."""
    return CodecError(f"cv_bridge cannot convert '{what}': {reason}; {_OWN}")

# SPDX-License-Identifier: Apache-2.0
"""Read image files at the size of the model's input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from smwm_ros.codec import image_headers
from smwm_ros.codec.images import fit
from smwm_ros.errors import CodecError, ConfigError
from smwm_ros.interfaces import Array

SUFFIXES = ('.png', '.jpg', '.jpeg')


def read_folder(folder: Path, size: int, how: str) -> Array:
    """Return the images of a folder, sorted by name: (M, S, S, 3) uint8 RGB."""
    if not folder.is_dir():
        raise ConfigError(f'{folder}: no such folder; expected a folder of images')
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(f'{folder}: no images found; expected {", ".join(SUFFIXES)}')
    return np.stack([read_picture(path, size, how) for path in paths])


def read_picture(path: Path, size: int, how: str) -> Array:
    """Return one image, resized to (S, S, 3) uint8 RGB."""
    return fit(read_file(path), size, how)


def read_file(path: Path) -> Array:
    """Return one image at its own size, (H, W, 3) uint8 RGB."""
    try:
        if not path.is_file():
            raise ConfigError(f'{path}: cannot be read: missing, or not a file')
        data = path.read_bytes()
        image_headers.check(path.suffix, data)
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read: {error.strerror}') from None
    except CodecError as error:
        raise ConfigError(f'{path}: cannot be read: {error}') from None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise ConfigError(f'{path}: cannot be read; expected a PNG or JPEG file')
    rgb: Array = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return rgb

# SPDX-License-Identifier: Apache-2.0
"""
Masks of goal pictures: the alpha channel of a picture says what counts.

A pixel counts where alpha is not 0. So a PNG file, and an Image message with the encoding rgba8,
hold a picture and its mask together. A picture without transparent pixels has no mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from smwm_ros.codec.image_files import read_file
from smwm_ros.codec.images import fit
from smwm_ros.codec.octets import octets
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Array

ENCODINGS = ('rgba8', 'bgra8')  # whose alpha channel is a mask
_ASPECT = 0.02  # relative difference of the aspects of a picture and its mask that is accepted


def mask_of_message(msg: Any, size: int, how: str) -> Array | None:
    """Return the mask (S, S) bool of an Image at the size of the model, None if it has none."""
    if getattr(msg, 'encoding', '') not in ENCODINGS:  # a CompressedImage has no encoding
        return None
    height, width = int(msg.height), int(msg.width)
    step = int(msg.step) or 4 * width
    alpha = np.ndarray((height, width), np.uint8, octets(msg.data), 3, (step, 4))
    return _as_seen(alpha, size, how)


def mask_of_file(path: Path, size: int, how: str) -> Array | None:
    """Return the mask (S, S) bool of a PNG file at the size of the model, None if it has none."""
    alpha = alpha_of_file(path)
    try:
        return None if alpha is None else _as_seen(alpha, size, how)
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from None


def alpha_of_file(path: Path) -> Array | None:
    """Return where a PNG file that read_file() accepts is not transparent, (H, W) bool."""
    if path.suffix.lower() != '.png':
        return None
    data = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim < 3 or picture.shape[2] < 4:
        return None
    alpha: Array = picture[..., 3] > 0
    return alpha


def read_mask(path: Path, picture: Array) -> Array:
    """Return the mask (H, W) bool of a picture (H, W, 3) from a file of the same aspect."""
    mask = read_file(path).any(axis=2)
    (high, wide), (rows, columns) = mask.shape, picture.shape[:2]
    if abs(high * columns / (wide * rows) - 1) > _ASPECT:
        raise ConfigError(
            f'{path}: a mask of {wide}x{high}, expected {columns}x{rows} as the picture, or the '
            'same aspect'
        )
    resized = cv2.resize(mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
    return _checked(resized > 0, str(path))


def box_mask(box: Sequence[int], picture: Array) -> Array:
    """Return the mask (H, W) bool of a box x, y, width, height [px] of a picture (H, W, 3)."""
    x, y, width, height = box
    rows, columns = picture.shape[:2]
    if min(x, y) < 0 or min(width, height) < 1 or x + width > columns or y + height > rows:
        raise ConfigError(
            f'box: {x},{y},{width},{height}, expected x,y,width,height of at least 1x1 pixels '
            f'inside the picture of {columns}x{rows}'
        )
    mask = np.zeros((rows, columns), bool)
    mask[y : y + height, x : x + width] = True
    return _checked(mask, 'box')


def with_mask(picture: Array, mask: Array | None) -> Array:
    """Return a picture (H, W, 3) with its mask as the alpha channel, (H, W, 4)."""
    if mask is None:
        return picture
    return np.dstack([picture, mask.astype(np.uint8) * 255])


def fit_masked(picture: Array, size: int, how: str) -> Array:
    """Resize a picture (H, W, 3 or 4) for the model, with its mask: (S, S, 3 or 4)."""
    small = fit(picture[..., :3], size, how)
    return with_mask(small, _as_seen(picture[..., 3], size, how) if picture.shape[2] > 3 else None)


def shaded(picture: Array, mask: Array) -> Array:
    """Return a picture (S, S, 3) that is darker outside its mask (S, S)."""
    return np.where(mask[..., None], picture, picture // 3)


def _as_seen(alpha: Array, size: int, how: str) -> Array | None:
    """Resize a mask (H, W) as its picture, or return None where all of it counts."""
    if alpha.all():
        return None
    if not alpha.any():
        raise ConfigError('the mask of the goal is empty: alpha is 0 in all pixels')
    whole = np.repeat(alpha.astype(bool)[..., None].astype(np.uint8) * 255, 3, axis=2)
    seen: Array = fit(whole, size, how)[..., 0]
    if not seen.any():
        raise ConfigError(f'the mask of the goal is empty in the image of the model ({how})')
    mask: Array = seen >= min(128, int(seen.max()))
    return mask


def _checked(mask: Array, where: str) -> Array:
    """Return a mask, or raise where nothing or everything counts."""
    if not mask.any():
        raise ConfigError(f'{where}: the mask is empty; expected pixels that are not black')
    if mask.all():
        raise ConfigError(
            f'{where}: the mask covers the whole picture, so all of it counts; leave it out'
        )
    return mask

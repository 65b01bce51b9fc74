# SPDX-License-Identifier: Apache-2.0
"""
Shadows from a depth image: those of the software renderer of pybullet would shade whole floors.

From each visible point a ray goes towards the light. Where the depth image lies in front of the
ray, something is in the way. What the camera does not see casts no shadow.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from smwm_ros.arenas.bodies import CameraSetup
from smwm_ros.interfaces import Array

PIXELS = 5  # of an image side for each point on a ray: neighbours are about a pixel apart
REACH = 0.13  # length of a ray, as a share of the distance of the camera
NEAR = 0.004  # depth by which something must be in front of a ray, as the same share


class View(NamedTuple):
    """A depth image, and how it was rendered."""

    depth: Array  # (S, S) depth buffer, 0 to 1
    view: Array  # (4, 4)
    projection: Array  # (4, 4)


def cast(pixels: Array, seen: View, camera: CameraSetup) -> Array:
    """Return pixels (S, S, 3) that are darker where the light of the camera does not reach."""
    hidden = in_shadow(seen, np.asarray(camera.light, float)).astype(np.float32)
    soft = cv2.GaussianBlur(hidden, (3, 3), 0)[..., None]
    darker: Array = np.rint(pixels * (1 - (1 - dimmed(camera)) * soft)).astype(np.uint8)
    return darker


def dimmed(camera: CameraSetup) -> float:
    """Return the brightness of a floor in the shadow over that in the light."""
    steep = float(camera.light[2] / np.linalg.norm(camera.light))
    diffuse = camera.diffuse * max(steep, 0.0)
    return 1 - camera.shadow * diffuse / (camera.ambient + diffuse)


def in_shadow(seen: View, light: Array) -> Array:
    """Return a mask (S, S) of the points that the light (3,), a direction, does not reach."""
    size = len(seen.depth)
    line = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(line, -line)
    corners = np.stack([x, y, 2.0 * seen.depth - 1, np.ones_like(x)])  # (4, S, S)
    matrix = seen.projection @ seen.view
    # How far away each point is [m], and its clip coordinates.
    far = 1 / np.tensordot(np.linalg.inv(matrix)[3], corners, 1)
    begin = np.float32(corners[[0, 1, 3]] * far)
    away = float(np.median(far))
    along = np.float32(matrix @ np.append(light / np.linalg.norm(light), 0.0))[[0, 1, 3]]
    far, found = np.float32(far), np.zeros((size, size), bool)
    steps = max(1, size // PIXELS)
    for share in np.arange(1, steps + 1) / steps:
        x, y, ahead = begin + np.float32(share * REACH * away) * along[:, None, None]
        column, row = (
            ((1 + x / ahead) / 2 * size).astype(int),
            ((1 - y / ahead) / 2 * size).astype(int),
        )
        inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        there = far[row.clip(0, size - 1), column.clip(0, size - 1)]
        found |= inside & (there < ahead - NEAR * away)
    return found

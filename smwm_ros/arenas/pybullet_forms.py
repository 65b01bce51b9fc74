# SPDX-License-Identifier: Apache-2.0
"""The forms of parts as pybullet describes them."""

from __future__ import annotations

from typing import Any

from smwm_ros.arenas.bodies import Part

CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))  # of a sheet


def form_of(bullet: Any, part: Part, height: str) -> dict[str, Any]:
    """Return pybullet's arguments for a form; `height` is its name for a cylinder's height."""
    size = part.size
    if part.form == 'box':
        return {'shapeType': bullet.GEOM_BOX, 'halfExtents': size}
    if part.form == 'sphere':
        return {'shapeType': bullet.GEOM_SPHERE, 'radius': size[0]}
    if part.form == 'sheet':  # a box would show a part of a texture only
        return {
            'shapeType': bullet.GEOM_MESH,
            'vertices': [(x * size[0], y * size[1], 0.0) for x, y in CORNERS],
            'indices': [0, 1, 2, 0, 2, 3],
            'uvs': [((1 + x) / 2, (1 + y) / 2) for x, y in CORNERS],
            'normals': [(0.0, 0.0, 1.0)] * len(CORNERS),
        }
    return {'shapeType': bullet.GEOM_CYLINDER, 'radius': size[0], height: size[1]}

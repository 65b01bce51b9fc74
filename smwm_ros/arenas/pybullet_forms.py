# SPDX-License-Identifier: Apache-2.0
"""The forms of parts as pybullet describes them."""

from __future__ import annotations

from typing import Any

from smwm_ros.arenas.bodies import Part

CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))  # of a sheet


def form_of(part: Part, height: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a form, and its sizes; `height` is the name of a cylinder's height."""
    size = part.size
    if part.form == 'box':
        return 'GEOM_BOX', {'halfExtents': size}
    if part.form == 'sphere':
        return 'GEOM_SPHERE', {'radius': size[0]}
    if part.form == 'sheet':  # a box would show a part of a texture only
        return 'GEOM_MESH', {
            'vertices': [(x * size[0], y * size[1], 0.0) for x, y in CORNERS],
            'indices': [0, 1, 2, 0, 2, 3],
            'uvs': [((1 + x) / 2, (1 + y) / 2) for x, y in CORNERS],
            'normals': [(0.0, 0.0, 1.0)] * len(CORNERS),
        }
    return 'GEOM_CYLINDER', {'radius': size[0], height: size[1]}

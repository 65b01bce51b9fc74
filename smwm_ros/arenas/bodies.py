# SPDX-License-Identifier: Apache-2.0
"""What worlds are built of: parts with a form and a colour, and chains of links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from smwm_ros.interfaces import Array

Vector: TypeAlias = Sequence[float] | Array
Colour = tuple[float, float, float]  # red, green, blue from 0 to 1


class Part(NamedTuple):
    """One rigid piece."""

    form: str  # 'box', 'cylinder' (upright) or 'sphere'
    size: Vector  # half extents of a box, radius and height of a cylinder, radius of a sphere [m]
    colour: Colour
    at: Vector = (0, 0, 0)  # its centre in the frame of its link or body [m]
    solid: bool = True  # what is not solid is only seen


class Link(NamedTuple):
    """One link of a chain, and the joint that carries it."""

    joint: str  # 'slide' along the axis, 'turn' about it, or 'fixed'
    axis: Vector = (0, 0, 1)
    at: Vector = (0, 0, 0)  # of the joint, in the frame of the link that carries it [m]
    part: Part | None = None
    mass: float = 0.0  # [kg]; only what is fixed may have none
    friction: float = 0.0
    parent: int | None = None  # the link that carries it; the one before, if nothing is said


def slider(radius: float, height: float, colours: tuple[Colour, Colour]) -> list[Link]:
    """Return an upright cylinder that slides in x (joint 0) and y (joint 1), with a lid on it."""
    body = Part('cylinder', (radius, height), colours[0], at=(0, 0, height / 2))
    lid = Part('cylinder', (0.55 * radius, 0.3 * height), colours[1], (0, 0, 1.15 * height), False)
    return [
        Link('slide', (1, 0, 0), mass=0.1),
        Link('slide', (0, 1, 0), part=body, mass=1.0),
        Link('fixed', part=lid),
    ]

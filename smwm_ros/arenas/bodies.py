# SPDX-License-Identifier: Apache-2.0
"""What worlds are made of: rigid parts, chains of links, and a camera with a light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from smwm_ros.interfaces import Array

Vector: TypeAlias = Sequence[float] | Array
Colour = tuple[float, float, float]  # red, green, blue from 0 to 1


class CameraSetup(NamedTuple):
    """A fixed pinhole camera and the light of the scene."""

    eye: Vector  # [m]
    target: Vector  # [m]
    up: Vector
    fov: float  # field of view, the same in both directions [deg]
    light: Vector = (0.4, 0.5, 1.0)  # direction towards the light
    ambient: float = 0.62  # share of a colour that is visible without light
    diffuse: float = 0.42  # share that the light adds where it meets a surface at a right angle
    shadow: float = 0.0  # share of the light that is missing in shadows, with pybullet


class Part(NamedTuple):
    """One rigid piece."""

    form: str  # 'box', 'cylinder' (upright), 'sphere' or 'sheet' (level, never solid)
    # Half extents of a box or a sheet, radius and height of a cylinder, radius of a sphere [m].
    size: Vector
    colour: Colour
    at: Vector = (0, 0, 0)  # its centre in the frame of its link or body [m]
    solid: bool = True  # a part that is not solid is visible, but collides with nothing


class Link(NamedTuple):
    """One link of a chain, and the joint that carries it."""

    joint: str  # 'slide' along the axis, 'turn' about it, or 'fixed'
    axis: Vector = (0, 0, 1)
    at: Vector = (0, 0, 0)  # of the joint, in the frame of the parent link [m]
    part: Part | None = None
    mass: float = 0.0  # [kg]; only a fixed link may have none
    friction: float = 0.0
    parent: int | None = None  # index of the link that carries it; None: the previous one
    # Centre of mass in the frame of the link [m]. It matters where forces move the link; MuJoCo
    # always takes that of the part.
    centre: Vector = (0, 0, 0)
    damping: float = 0.0  # force or torque over velocity of the joint [Ns/m or Nms/rad]
    stop: float | None = None  # the joint stops at this position, either way [m or rad]


class VisualShape(NamedTuple):
    """The visible shape of a link, as it was created."""

    body: int
    link: int
    colour: Colour


class Dynamics(NamedTuple):
    """What determines how a link moves."""

    body: int
    link: int
    mass: float  # [kg]
    inertia: Vector  # diagonal [kg m2]
    friction: float


def slider(radius: float, height: float, colours: tuple[Colour, Colour]) -> list[Link]:
    """Return an upright cylinder that slides in x (joint 0) and y (joint 1), with a lid on it."""
    body = Part('cylinder', (radius, height), colours[0], at=(0, 0, height / 2))
    lid = Part('cylinder', (0.55 * radius, 0.3 * height), colours[1], (0, 0, 1.15 * height), False)
    return [
        Link('slide', (1, 0, 0), mass=0.1),
        Link('slide', (0, 1, 0), part=body, mass=1.0),
        Link('fixed', part=lid),
    ]

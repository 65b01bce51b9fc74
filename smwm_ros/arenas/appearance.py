# SPDX-License-Identifier: Apache-2.0
"""Apply drawn values to a world: camera, light, colours, floors, friction, mass, motor gain."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, nan, radians, sin
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from smwm_ros.arenas.bodies import CameraSetup
from smwm_ros.arenas.furnishing import Furnishing, Looks
from smwm_ros.arenas.ranges import stream
from smwm_ros.arenas.worlds import AnyWorld
from smwm_ros.interfaces import Array

PATTERNS = 16  # number of textures to choose from
GRAIN = 8  # patches along a side of a pattern


class Appearance:
    """
    Changes how a world looks and moves, always relative to its original values.

    At neutral values the world is the original one to the bit. Each world has one Appearance. It
    stores the original values, so it is made before anything changes: see appearance_of().
    """

    def __init__(self, world: AnyWorld) -> None:
        self._camera = world.camera
        links = world.links()
        moving = {link.body for link in links if link.mass}
        self._links = [link for link in links if link.body in moving]
        self._shapes = world.visual_shapes()
        self._static = [shape for shape in self._shapes if shape.body not in moving]
        # Shapes of one colour keep sharing one colour.
        self._colours = sorted({shape.colour for shape in self._shapes})
        self._textures: dict[tuple[int, int], int] = {}  # (pattern, contrast [%]): texture
        self._textured = False
        self._factors = (1.0, 1.0)  # of mass and friction now
        self._furnishing: Furnishing | None = None  # added when it is first needed

    @property
    def colours(self) -> int:
        """Return the number of different colours."""
        return len(self._colours)

    def apply(self, world: AnyWorld, drawn: Mapping[str, Any], looks: Looks) -> None:
        """Apply drawn values."""
        self._furnish(world, drawn, looks)
        world.set_camera(moved_camera(self._camera, drawn))
        self._apply_colours(world, np.array(drawn['colour']))
        pattern = int(stream(looks.key, 'pattern').integers(PATTERNS))
        self._apply_texture(world, pattern, round(100 * drawn['texture']))
        self._apply_dynamics(world, drawn['mass'], drawn['friction'])
        world.gain = drawn['gain']

    def _furnish(self, world: AnyWorld, drawn: Mapping[str, Any], looks: Looks) -> None:
        """Show the floor and the things that were drawn."""
        if not self._furnishing:
            if not (drawn['floor'] or drawn['clutter']):
                return
            self._furnishing = Furnishing(world, self._camera)
            if self._factors != (1.0, 1.0):  # new bodies reset a model of mujoco
                self._factors = nan, nan
        self._furnishing.show_floor(world, drawn['floor'], looks)
        self._furnishing.show_things(world, drawn['clutter'], looks)

    def _apply_colours(self, world: AnyWorld, changes: Array) -> None:
        """Add changes of red, green and blue (colours, 3) to the original colours."""
        colours = np.clip(np.array(self._colours) + changes, 0.0, 1.0)
        for shape in self._shapes:
            world.set_colour(shape, colours[self._colours.index(shape.colour)])

    def _apply_texture(self, world: AnyWorld, pattern: int, percent: int) -> None:
        """Cover all that never moves with a pattern."""
        if not percent and not self._textured:
            return
        texture = self._texture(world, pattern, percent) if percent else None
        self._textured = bool(percent)
        for shape in self._static:
            world.set_texture(shape, texture)

    def _texture(self, world: AnyWorld, pattern: int, percent: int) -> int:
        """Return a texture; each is made once, because the simulator never frees one."""
        key = pattern, percent
        if key not in self._textures:
            patches = np.random.default_rng(pattern).random((GRAIN, GRAIN), np.float32)
            smooth = cv2.resize(patches, (8 * GRAIN, 8 * GRAIN), interpolation=cv2.INTER_LINEAR)
            grey = (255 * (1 - percent / 100 * smooth)).astype(np.uint8)
            self._textures[key] = world.add_texture(grey)
        return self._textures[key]

    def _apply_dynamics(self, world: AnyWorld, mass: float, friction: float) -> None:
        """Multiply mass and friction of all that moves."""
        if (mass, friction) == self._factors:
            return
        self._factors = mass, friction
        for link in self._links:
            world.set_dynamics(
                link._replace(
                    mass=mass * link.mass,
                    inertia=[mass * part for part in link.inertia],
                    friction=friction * link.friction,
                )
            )


_APPEARANCES: WeakKeyDictionary[AnyWorld, Appearance] = WeakKeyDictionary()


def appearance_of(world: AnyWorld) -> Appearance:
    """Return the Appearance of a world; the first call must come before any change."""
    if world not in _APPEARANCES:
        _APPEARANCES[world] = Appearance(world)
    return _APPEARANCES[world]


def moved_camera(camera: CameraSetup, drawn: Mapping[str, Any]) -> CameraSetup:
    """Return a camera that is moved and turned, with another direction and strength of light."""
    eye, target = np.array(camera.eye, float), np.array(camera.target, float)
    arm, up = eye - target, np.array(camera.up, float)
    away = float(np.linalg.norm(arm))
    right = np.cross(up, arm)
    pitch, yaw = drawn['camera_tilt']
    tilted, up = (_turned(part, right, pitch) for part in (arm, up))
    tilted, up = (_turned(part, np.cross(arm, right), yaw) for part in (tilted, up))
    eye = eye + (tilted - arm)  # in this order no bit changes at 0 degrees
    light = np.array(camera.light, float)
    level = np.cross(light, (0.0, 0.0, 1.0))
    if not level.any():  # the light comes from straight above
        level = np.array([1.0, 0.0, 0.0])
    light = _turned(light, level, -drawn['light_tilt'])
    return CameraSetup(
        eye=eye + away * np.array(drawn['camera_eye']),
        target=target + away * np.array(drawn['camera_target']),
        up=_turned(up, target - eye, drawn['camera_roll']),
        fov=camera.fov * drawn['fov'],
        light=_turned(light, np.array([0.0, 0.0, 1.0]), drawn['light_turn']),
        ambient=camera.ambient * drawn['light'],
        diffuse=camera.diffuse * drawn['light'],
        shadow=drawn['shadow'],
    )


def _turned(vector: Array, axis: Array, degrees: float) -> Array:
    """Return a vector (3,) turned about an axis (3,); 0 degrees change no bit."""
    axis = axis / np.linalg.norm(axis)
    angle = radians(degrees)
    turned: Array = (
        vector * cos(angle)
        + np.cross(axis, vector) * sin(angle)
        + axis * (axis @ vector) * (1 - cos(angle))
    )
    return turned

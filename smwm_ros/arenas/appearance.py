# SPDX-License-Identifier: Apache-2.0
"""Dress a world as drawn: camera and light, colours and textures, friction, mass and motors."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, radians, sin
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from smwm_ros.arenas.world import CameraSetup, World
from smwm_ros.interfaces import Array

PATTERNS = 16  # that a texture is one of
GRAIN = 8  # patches along a side of a pattern


class _Shape(NamedTuple):
    """A link that is seen, and what colour it has by itself."""

    body: int
    link: int
    colour: tuple[float, float, float]
    still: bool  # it never moves


class _Link(NamedTuple):
    """A link of a body that moves, and what it is like by itself."""

    body: int
    link: int
    mass: float  # [kg]
    inertia: tuple[float, float, float]  # [kg m2]
    friction: float


class Appearance:
    """
    Changes how a world looks and what it is made of, each time from what it was at first.

    At neutral values the world is as if nobody had touched it, to the bit. There is one studio for
    each world, for nobody else knows what it was like at first: see studio_of().
    """

    def __init__(self, world: World) -> None:
        self._camera = world.camera
        bodies = world.bodies.values()
        self._links = [link for body in bodies for link in _links_of(world, body)]
        moving = {link.body for link in self._links}
        self._shapes = [
            _Shape(body, item[1], item[7][:3], body not in moving)
            for body in bodies
            for item in _ask(world, 'getVisualShapeData', body)
        ]
        # What has one colour keeps one colour.
        self._colours = sorted({shape.colour for shape in self._shapes})
        self._textures: dict[tuple[int, int], int] = {}  # pattern, percent of contrast: texture
        self._textured = False
        self._matter = (1.0, 1.0)  # factors of mass and friction now

    @property
    def colours(self) -> int:
        """Return how many colours there are."""
        return len(self._colours)

    def dress(self, world: World, drawn: Mapping[str, Any], pattern: int) -> None:
        """Make everything as drawn; the pattern is a number below PATTERNS."""
        world.set_camera(posed(self._camera, drawn))
        self._paint(world, np.array(drawn['colour']))
        self._cover(world, pattern, round(100 * drawn['texture']))
        self._weigh(world, drawn['mass'], drawn['friction'])
        world.gain = drawn['gain']

    def _paint(self, world: World, changes: Array) -> None:
        """Change each colour by red, green and blue (colours, 3)."""
        painted = np.clip(np.array(self._colours) + changes, 0.0, 1.0)
        for shape in self._shapes:
            rgb = painted[self._colours.index(shape.colour)]
            _ask(world, 'changeVisualShape', shape.body, shape.link, rgbaColor=(*rgb, 1.0))

    def _cover(self, world: World, pattern: int, percent: int) -> None:
        """Lay a pattern over all that never moves."""
        if not percent and not self._textured:
            return
        texture = self._texture(world, pattern, percent) if percent else -1
        self._textured = bool(percent)
        for shape in self._shapes:
            if shape.still:
                _ask(world, 'changeVisualShape', shape.body, shape.link, textureUniqueId=texture)

    def _texture(self, world: World, pattern: int, percent: int) -> int:
        """Return a texture; the simulator keeps each for ever, so there are only so many."""
        key = pattern, percent
        if key not in self._textures:
            patches = np.random.default_rng(pattern).random((GRAIN, GRAIN), np.float32)
            smooth = cv2.resize(patches, (8 * GRAIN, 8 * GRAIN), interpolation=cv2.INTER_LINEAR)
            grey = (255 * (1 - percent / 100 * smooth)).astype(np.uint8)
            with TemporaryDirectory() as folder:  # the simulator reads files only
                path = Path(folder) / 'texture.png'
                path.write_bytes(cv2.imencode('.png', cv2.merge([grey] * 3))[1].tobytes())
                self._textures[key] = _ask(world, 'loadTexture', str(path))
        return self._textures[key]

    def _weigh(self, world: World, mass: float, friction: float) -> None:
        """Multiply mass and friction of all that moves."""
        if (mass, friction) == self._matter:
            return
        self._matter = mass, friction
        for link in self._links:
            _ask(
                world,
                'changeDynamics',
                link.body,
                link.link,
                mass=mass * link.mass,
                localInertiaDiagonal=[mass * part for part in link.inertia],
                lateralFriction=friction * link.friction,
            )


_STUDIOS: WeakKeyDictionary[World, Appearance] = WeakKeyDictionary()


def studio_of(world: World) -> Appearance:
    """Return the studio of a world; the first one to ask must not have changed it."""
    if world not in _STUDIOS:
        _STUDIOS[world] = Appearance(world)
    return _STUDIOS[world]


def posed(camera: CameraSetup, drawn: Mapping[str, Any]) -> CameraSetup:
    """Return a camera moved and turned, in light of another strength from elsewhere."""
    eye, target = np.array(camera.eye, float), np.array(camera.target, float)
    away = float(np.linalg.norm(eye - target))
    light = np.array(camera.light, float)
    level = np.cross(light, (0.0, 0.0, 1.0))
    if not level.any():  # it shines straight down
        level = np.array([1.0, 0.0, 0.0])
    light = _turned(light, level, -drawn['light_tilt'])
    return CameraSetup(
        eye=eye + away * np.array(drawn['camera_eye']),
        target=target + away * np.array(drawn['camera_target']),
        up=_turned(np.array(camera.up, float), target - eye, drawn['camera_roll']),
        fov=camera.fov * drawn['fov'],
        light=_turned(light, np.array([0.0, 0.0, 1.0]), drawn['light_turn']),
        ambient=camera.ambient * drawn['light'],
        diffuse=camera.diffuse * drawn['light'],
    )


def _turned(vector: Array, axis: Array, degrees: float) -> Array:
    """Turn a vector (3,) about an axis (3,); not at all by 0 degrees, to the bit."""
    axis = axis / np.linalg.norm(axis)
    angle = radians(degrees)
    turned: Array = (
        vector * cos(angle)
        + np.cross(axis, vector) * sin(angle)
        + axis * (axis @ vector) * (1 - cos(angle))
    )
    return turned


def _links_of(world: World, body: int) -> list[_Link]:
    """Return the links of a body if it moves."""
    links = []
    for link in range(-1, _ask(world, 'getNumJoints', body)):
        mass, friction, inertia = _ask(world, 'getDynamicsInfo', body, link)[:3]
        links.append(_Link(body, link, mass, inertia, friction))
    return links if any(link.mass for link in links) else []


def _ask(world: World, function: str, *words: Any, **more: Any) -> Any:
    """Call the simulator."""
    return getattr(world.bullet, function)(*words, physicsClientId=world.client, **more)

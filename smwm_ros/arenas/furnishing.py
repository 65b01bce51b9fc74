# SPDX-License-Identifier: Apache-2.0
"""
What a real room has besides the task: a floor with a texture, and things that lie around.

Neither collides with anything. The floor covers the plain ones of the arena, and extends beyond
them; things lie outside the square that the camera shows originally, where no robot drives.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, radians, tan
from typing import NamedTuple

import numpy as np
from smwm_ros.arenas.bodies import CameraSetup, Part, Vector
from smwm_ros.arenas.ranges import stream
from smwm_ros.arenas.textures import Floors, WIDTH
from smwm_ros.arenas.worlds import AnyWorld
from smwm_ros.interfaces import Array

FLOORS = 16  # number of floors to choose from, in each bank
STEPS = 4  # steps of the contrast of a floor from 0 to 1
THINGS = 12
FORMS = ('box', 'cylinder', 'sphere')
AWAY = (1000.0, 0.0, -1000.0)  # where nothing is visible [m]
# As shares of half the width of the visible floor:
LEVEL = 0.006  # of the floor above the origin
OUTSIDE = 0.99  # half the width of the square without things
BORDER = 1.35  # half the width of the square in which they lie


class Looks(NamedTuple):
    """What determines the looks of an episode, besides the drawn values."""

    key: Sequence[int]  # of the streams of random numbers
    bank: Sequence[int]  # key of the floors to choose from
    floors: Floors
    size: int  # of the images [px]


class Furnishing:
    """A floor and things that are added to a world once, and then shown, changed and hidden."""

    def __init__(self, world: AnyWorld, camera: CameraSetup) -> None:
        eye, target = np.array(camera.eye, float), np.array(camera.target, float)
        self._half = float(np.linalg.norm(eye - target)) * tan(radians(camera.fov / 2))
        self._middle = np.array([target[0], target[1], 0.0])
        self._textures: dict[tuple[int, ...], int] = {}  # of a key, a contrast and a size
        side = WIDTH / 2 * self._half
        sheet = Part('sheet', (side, side), (1.0, 1.0, 1.0), solid=False)
        world.add_static('floor', sheet, AWAY)
        self._things = [_thing(number, self._half) for number in range(THINGS)]
        for number, part in enumerate(self._things):
            world.add_static(f'thing {number}', part, AWAY)
        shapes = {shape.body: shape for shape in world.visual_shapes()}
        self._shapes = {name: shapes[world.bodies[name]] for name in ('floor', *self._names())}

    def show_floor(self, world: AnyWorld, contrast: float, looks: Looks) -> None:
        """Show the floor that was drawn, or none."""
        steps = ceil(STEPS * contrast)
        at = self._middle + np.array([0.0, 0.0, LEVEL * self._half])
        world.move_static('floor', at if steps else AWAY)
        if steps:
            world.set_texture(self._shapes['floor'], self._texture(world, steps, looks))

    def show_things(self, world: AnyWorld, count: int, looks: Looks) -> None:
        """Show so many things at drawn places, in drawn colours, and hide the others."""
        rng = stream(looks.key, 'things')
        shown = set(rng.permutation(THINGS)[:count].tolist())
        for number, name in enumerate(self._names()):
            place, colour = self._place(self._things[number], rng), _colour(rng)
            world.move_static(name, place if number in shown else AWAY)
            if number in shown:
                world.set_colour(self._shapes[name], colour)

    def _names(self) -> list[str]:
        """Return the names of the things."""
        return [f'thing {number}' for number in range(THINGS)]

    def _texture(self, world: AnyWorld, steps: int, looks: Looks) -> int:
        """Return a texture; each is made once, because pybullet never frees one."""
        number = int(stream(looks.key, 'floor').integers(FLOORS))
        # About twice as fine as the image: a finer one would be sampled to mere noise.
        side = int(np.clip(4 * looks.size, 64, 1024))
        key = *looks.bank, number
        name = *key, steps, side
        if name not in self._textures:
            image = looks.floors.make(key, side).astype(np.float32)
            mean = image.mean(axis=(0, 1))
            image = mean + steps / STEPS * (image - mean)
            self._textures[name] = world.add_texture(np.rint(image).astype(np.uint8))
        return self._textures[name]

    def _place(self, part: Part, rng: np.random.Generator) -> Vector:
        """Draw a place on the floor outside the square of the task."""
        radius = _radius(part) / self._half
        out, along = rng.uniform(OUTSIDE + radius, BORDER), rng.uniform(-BORDER, BORDER)
        side = rng.choice((-1.0, 1.0))
        x, y = (side * out, along) if rng.random() < 0.5 else (along, side * out)
        place: Array = self._middle + self._half * np.array([x, y, LEVEL])
        place[2] += part.size[0] if part.form == 'sphere' else _height(part) / 2
        return place


def _thing(number: int, half: float) -> Part:
    """Return a thing of random size."""
    rng = np.random.default_rng(number)
    form = FORMS[number % len(FORMS)]
    width, depth, height = half * rng.uniform((0.05, 0.05, 0.02), (0.16, 0.16, 0.08))
    size = {'box': (width, depth, height), 'cylinder': (width / 2, 2 * height)}
    return Part(form, size.get(form, (0.4 * width,)), (0.5, 0.5, 0.5), solid=False)


def _radius(part: Part) -> float:
    """Return the largest half extent on the floor [m]."""
    return max(part.size[:2]) if part.form == 'box' else part.size[0]


def _height(part: Part) -> float:
    """Return the height of a box or a cylinder [m]."""
    return 2 * part.size[2] if part.form == 'box' else part.size[1]


def _colour(rng: np.random.Generator) -> Array:
    """Draw a colour (3,), from grey to strong."""
    strong = rng.uniform(0.05, 0.95, 3)
    share = rng.random()
    colour: Array = share * strong + (1 - share) * rng.uniform(0.1, 0.9)
    return colour

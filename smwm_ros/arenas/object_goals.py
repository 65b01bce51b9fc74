# SPDX-License-Identifier: Apache-2.0
"""
Goals of the object alone, in arenas whose robot moves one: with a mask, the robot elsewhere.

What counts about the object is what counts in the arena's own distance(), without the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast, NamedTuple

import numpy as np
from smwm_ros.arenas import cube, push_t, require_arena
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.strict import AXES, Axis
from smwm_ros.arenas.vary import RandomisedArena
from smwm_ros.codec.goal_masks import with_mask
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Arena, Array, Frame

FAR = 9.0  # out of the picture [m]
SEEN = 8  # grey levels by which the object changes a pixel that shows it
PLACES = 5  # random places of the robot, of which the one that hides least of the object is taken


class MovedObject(NamedTuple):
    """The object of an arena."""

    name: str  # of the body, and of its axes
    robot_elsewhere: Callable[[Array, np.random.Generator], Array]  # moves the robot


OBJECTS: Mapping[str, MovedObject] = {
    'push_t': MovedObject('block', push_t.pusher_elsewhere),
    'cube': MovedObject('cube', cube.gripper_elsewhere),
}


def require_object(arena_name: str) -> MovedObject:
    """Return the object of an arena, or raise."""
    if require_arena(arena_name) not in OBJECTS:
        raise ArenaError(
            f"--object: the robot of '{arena_name}' moves no object; expected the arena "
            f'{" or ".join(OBJECTS)}'
        )
    return OBJECTS[arena_name]


def object_axes(arena_name: str) -> tuple[Axis, ...]:
    """Return the axes of a goal that are those of the object."""
    name = require_object(arena_name).name
    return tuple(axis for axis in AXES[arena_name] if axis.name.startswith(name))


class ObjectGoals:
    """
    An arena whose goals are those of the object alone; all else is that of the arena it wraps.

    A goal picture has the mask of the object as its alpha channel, and shows the robot at a random
    place. The same state gives the same picture.
    """

    def __init__(self, arena: Scene | RandomisedArena, name: str) -> None:
        self._arena, self._object, self._axes = arena, require_object(name), object_axes(name)
        self._scene = arena.scene if isinstance(arena, RandomisedArena) else arena

    def __getattr__(self, name: str) -> Any:
        """Return what is not changed here."""
        return getattr(self._arena, name)

    def set_goal(self, state: Array) -> Frame:
        """Make the object in a state (P,) the goal; return its frame (H, W, 4), masked."""
        stored = np.asarray(state, np.float32)
        rng = np.random.default_rng(stored.view(np.uint32))
        places = [self._object.robot_elsewhere(stored, rng) for _ in range(PLACES)]
        saved = self._scene.save()
        masks = [self._mask(place) for place in places]
        self._scene.restore(saved)
        best = max(range(PLACES), key=lambda number: int(masks[number].sum()))
        goal = self._arena.set_goal(places[best])
        return Frame(with_mask(goal.pixels, masks[best]), goal.state)

    def distance(self) -> float:
        """Return the larger of the errors of place and angle, each over its tolerance."""
        here, there = self._scene.save()
        errors: dict[str, list[float]] = {'m': [], 'rad': []}
        for axis in self._axes:
            errors[axis.unit].append(axis.error(here, there))
        return float(max(float(np.linalg.norm(errors['m'])), 0.0, *errors['rad']))

    def success(self) -> bool:
        """Return whether the object is at its goal now."""
        return self.distance() <= 1.0

    def _mask(self, state: Array) -> Array:
        """Place everything at a state (P,); return which pixels show the object, (H, W) bool."""
        scene, world, body = self._scene, self._scene.world, self._object.name
        picture = scene.set_state(state).pixels.astype(int)
        world.place(body, [FAR, *[0.0] * (len(world.joints(body)) - 1)])
        without = world.render(scene.image_size)
        mask: Array = np.abs(picture - without).max(axis=2) > SEEN
        return mask


def object_goals(arena: Arena, name: str) -> Arena:
    """Return an arena with goals of the object alone."""
    return cast(Arena, ObjectGoals(cast(Scene, arena), name))

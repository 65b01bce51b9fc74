# SPDX-License-Identifier: Apache-2.0
"""
Simulated robots with cameras; the only room that imports pybullet and mujoco.

Read in this order: braking, scene, bodies, engine, pybullet_bodies, shadows, world, mujoco_world,
mujoco_bodies, mujoco_renderer, worlds, ranges, textures, furnishing, appearance, illumination,
actuation, vary, balls, course, rooms, two_room, two_room_differential, reacher, reacher_torque,
push_t, push_t_shape, push_t_expert, cube, strict, object_goals, collection_policies, choose, gym.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from smwm_ros.arenas.actuation import Actuation, AS_COMMANDED
from smwm_ros.codec.fields import action_spec
from smwm_ros.config import Config, Randomise, Robot
from smwm_ros.errors import ArenaError, did_you_mean
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Arena
from smwm_ros.text import count_of

if TYPE_CHECKING:  # listing and choosing arenas must not import what renders
    from smwm_ros.arenas.scene import Scene

_ARENAS = {  # module in this folder: its class
    'two_room': 'TwoRoom',
    'two_room_differential': 'TwoRoomDifferential',
    'reacher': 'Reacher',
    'reacher_torque': 'ReacherTorque',
    'push_t': 'PushT',
    'cube': 'Cube',
}
ARENA_NAMES = tuple(_ARENAS)
IMAGE_SIZES = (16, 1024)  # smallest and largest camera image [px]


def require_arena(name: str) -> str:
    """Return the name if an arena has it; else raise with the existing names."""
    if name not in _ARENAS:
        raise ArenaError(f"'{name}': no such arena; {did_you_mean(name, ARENA_NAMES)}")
    return name


def make_arena(name: str, image_size: int = 64, engine: str = 'pybullet') -> Scene:
    """Make an arena with square camera images of this size [px], simulated by an engine."""
    require_arena(name)
    low, high = IMAGE_SIZES
    if not low <= image_size <= high:
        raise ArenaError(f'image size: {image_size} is out of range; valid: {low} to {high}')
    module = import_module(f'smwm_ros.arenas.{name}')
    arena: Scene = getattr(module, _ARENAS[name])(image_size, engine)
    return arena


def arena_of(config: Config, shift: str = '') -> Arena:
    """Make the arena of a configuration, with its randomisation and an optional held-out shift."""
    scene = make_arena(config.arena.name, config.arena.image_size, config.arena.engine)
    distractors = config.arena.distractors
    knobs = config.arena
    actuation = Actuation(knobs.field_delay, knobs.field_gain, knobs.lag, knobs.acceleration)
    as_commanded = actuation == AS_COMMANDED
    if config.randomise == Randomise() and as_commanded and not distractors and not shift:
        return scene
    from smwm_ros.arenas.ranges import ranges_of
    from smwm_ros.arenas.vary import RandomisedArena, shifted

    ranges, photos = ranges_of(config.randomise), config.randomise.photos
    once = config.arena.seed if config.randomise.once else None
    try:
        if not shift:
            return RandomisedArena(scene, ranges, distractors, 0, once, photos, actuation)
        seed = config.evaluate.seed
        return shifted(scene, shift, ranges, distractors, seed, photos, actuation)
    except ArenaError:
        scene.close()
        raise


def require_fit(arena: Arena, robot: Robot) -> None:
    """Raise if a robot configuration does not describe the robot of the arena."""
    spec = action_spec(robot)
    if spec.size != arena.spec.size:
        raise ArenaError(
            f'robot.command.fields: expected {count_of(arena.spec.size, "field")} for this arena, '
            f'such as {", ".join(arena.spec.fields)}; found {spec.size}'
        )
    if spec.dt != arena.spec.dt:
        raise ArenaError(f'robot.dt: expected {arena.spec.dt} s in this arena, found {spec.dt}')
    state, expected = expand(robot.state.fields), arena.sample(np.random.default_rng(0)).size
    if robot.state.topic and len(state) != expected:
        raise ArenaError(
            f'robot.state.fields: expected {count_of(expected, "field")} for this arena, '
            f'found {len(state)}: {", ".join(state)}'
        )

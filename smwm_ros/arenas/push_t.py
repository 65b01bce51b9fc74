# SPDX-License-Identifier: Apache-2.0
"""
A round pusher and a T-shaped block on a table, seen from above.

The state is the position (x, y) [m] of the pusher, that of the block's centre of mass, and cosine
and sine of the block's angle. The action is the pusher's velocity (vx, vy) [m/s]. All are in the
frame of the table: x points to the right of the image, y upwards, angles are anticlockwise. The
block moves only while it is pushed (quasi-static), so positions alone determine what follows.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.arenas.bodies import CameraSetup, Link, Part, slider
from smwm_ros.arenas.push_t_expert import expert_velocity
from smwm_ros.arenas.push_t_shape import (
    BAR,
    BAR_Y,
    clearance,
    Pose,
    RADIUS,
    STEM,
    STEM_Y,
    wall_gap,
    WEIGHT,
)
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.worlds import AnyWorld, make_world
from smwm_ros.interfaces import ActionSpec, Array, Frame

SPEED = 0.4  # largest velocity in x and in y [m/s]
DT = 0.1  # one raw action [s]
SUBSTEPS = 24  # with half as many, pusher and block penetrate each other
HALF = 0.8  # half the width of the table between the walls [m]
WALL = 0.03  # half the thickness of a wall [m]
FORCE = 200.0  # of the pusher: enough to reach any velocity within one physics step [N]
FRICTION = 0.5  # of the block; at a wall the product of both counts; the pusher has none
NEAR = 20 / 512 * 2 * HALF  # largest error of both positions together at a reached goal [m]
TURNED = np.deg2rad(20.0)  # largest error of the block's angle [rad]

TABLE = (0.95, 0.93, 0.88)
WALLS = (0.30, 0.33, 0.40)
PUSHER = ((0.86, 0.16, 0.14), (0.35, 0.03, 0.08))
BLOCK = ((0.05, 0.52, 0.62), (0.10, 0.22, 0.60))  # bar and stem, distinct at a few pixels
CAMERA = CameraSetup(eye=(0, 0, 2.9), target=(0, 0, 0), up=(0, 1, 0), fov=34.0)


class PushT(Scene):
    """The arena of the pusher and the T."""

    spec = ActionSpec(('twist.linear.x', 'twist.linear.y'), (-SPEED,) * 2, (SPEED,) * 2, DT)
    action_names = 'vx, vy'
    state_names = 'pusher x, pusher y, block x, block y, block cos, block sin'

    def __init__(self, image_size: int, engine: str = 'pybullet') -> None:
        # The pusher presses the block into walls.
        world = make_world(engine, DT / SUBSTEPS, CAMERA, recovery=0.8)
        _build(world)
        super().__init__(world, image_size, np.array([-0.5, 0.0, 0.1, 0.0, 1.0, 0.0]))

    def step(self, action: Array) -> Frame:
        """Move the pusher with (vx, vy) [m/s] for one raw step; it pushes the block."""
        self.world.set_motors('pusher', self.clip_action(action), FORCE)
        self.world.advance_at_rest(SUBSTEPS, 'block')
        x, y, angle = self.world.joints('block')
        pusher = self.world.joints('pusher')
        return self._settle(np.array([*pusher, x, y, np.cos(angle), np.sin(angle)]))

    def distance(self) -> float:
        """Return the larger of the errors of position and angle, each over its tolerance."""
        here, there = self._state.astype(np.float64), self._goal.astype(np.float64)
        turn = Pose.of(there).angle - Pose.of(here).angle
        turned = abs(np.remainder(turn + np.pi, 2 * np.pi) - np.pi)
        return float(max(np.linalg.norm((here - there)[:4]) / NEAR, turned / TURNED))

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a pose of the block that leaves room to pass, and a free position of the pusher."""
        while True:
            angle = rng.uniform(-np.pi, np.pi)
            block = rng.uniform(-HALF, HALF, 2)
            pusher = _anywhere(rng)
            pose = Pose(block[0], block[1], angle)
            if wall_gap(pose, HALF) > 0.13 and _is_free(pusher, pose):
                return np.array([*pusher, *block, np.cos(angle), np.sin(angle)], np.float32)

    def expert(self) -> Array:
        """Push the block to its goal, then move the pusher to its own."""
        return expert_velocity(
            self._state.astype(float), self._goal.astype(float), SPEED, DT, HALF
        )

    def _place(self, state: Array) -> None:
        """Place pusher and block at a state; earlier contacts are dropped."""
        # Far from each other first: pybullet keeps contact points as long as bodies touch.
        self.world.place('block', (9.0, 0.0, 0.0))
        self.world.place('pusher', (-9.0, 0.0))
        self.world.find_contacts()
        self.world.place('pusher', state[:2])
        self.world.place('block', Pose.of(state.astype(np.float64)))

    def _canonical(self, state: Array) -> Array:
        """Return a float32 state; normalise cosine and sine only if they need it."""
        stored = state.astype(np.float32)
        if abs(np.hypot(*state[4:]) - 1) > 1e-3:
            angle = Pose.of(state).angle
            stored[4:] = np.cos(angle), np.sin(angle)
        return stored


def pusher_elsewhere(state: Array, rng: np.random.Generator) -> Array:
    """Return a state (P,) with the pusher at a random free place."""
    pose = Pose.of(state.astype(np.float64))
    while True:
        pusher = _anywhere(rng)
        if _is_free(pusher, pose):
            return np.array([*pusher, *state[2:]], np.float32)


def _anywhere(rng: np.random.Generator) -> Array:
    """Draw a position (x, y) of the pusher on the table."""
    return rng.uniform(-1.0, 1.0, 2) * (HALF - RADIUS - 0.01)


def _is_free(pusher: Array, pose: Pose) -> bool:
    """Return whether a pusher (x, y) is beside the block."""
    return bool(clearance(pose.inside(pusher)) > RADIUS + 0.01)


def _build(world: AnyWorld) -> None:
    """Add the table, its walls, the pusher and the block."""
    edge, height = HALF + WALL, 0.06
    world.add_box('table', (0, 0, -0.02), (HALF, HALF, 0.02), TABLE, solid=False)
    for side, name in ((-1, 'minus'), (1, 'plus')):
        long, cross = (WALL, HALF + 2 * WALL, height), (HALF, WALL, height)
        world.add_box(f'wall {name} x', (side * edge, 0, height), long, WALLS)
        world.add_box(f'wall {name} y', (0, side * edge, height), cross, WALLS)
    world.add_chain('pusher', slider(RADIUS, height=0.14, colours=PUSHER))
    bar = Part('box', (*BAR, 0.04), BLOCK[0])
    stem = Part('box', (*STEM, 0.04), BLOCK[1])
    world.add_chain(
        'block',
        [
            Link('slide', (1, 0, 0), mass=1e-3),
            Link('slide', (0, 1, 0), mass=1e-3),
            Link('turn', (0, 0, 1), mass=1e-3),
            Link('fixed', at=(0, BAR_Y, 0.04), part=bar, mass=WEIGHT, friction=FRICTION, parent=2),
            Link(
                'fixed',
                at=(0, STEM_Y, 0.04),
                part=stem,
                mass=1 - WEIGHT,
                friction=FRICTION,
                parent=2,
            ),
        ],
    )
    world.set_motors('block', (0.0, 0.0, 0.0), force=0.0)  # no motors

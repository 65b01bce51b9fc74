# SPDX-License-Identifier: Apache-2.0
"""
A round robot in two rooms joined by a door, seen from above, and the expert that drives it.

State is (x, y) [m] and action is (vx, vy) [m/s], both in the frame of the floor: x to the right
of the image, y upwards, the door at the origin. Nothing else is remembered between two steps, so
a recorded state replayed with the recorded actions gives the recorded pixels to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from smwm_ros.arenas.world import Camera, World
from smwm_ros.core.interfaces import ActionSpec, Array, Frame
from smwm_ros.errors import ArenaError

SPEED = 0.5  # largest velocity in x and in y [m/s]
DT = 0.1  # one raw action [s]
SUBSTEPS = 12
HALF = 1.0  # half the width of the arena [m]
WALL = 0.03  # half the thickness of a wall [m]
DOOR = 0.2  # half the width of the door [m]
RADIUS = 0.09  # of the robot [m]
FORCE = 200.0  # of the motors: enough to reach any velocity within one physics step [N]
REACHED = 16 / 224 * 2 * HALF  # a goal this near is reached [m]
CLEAR = WALL + RADIUS + 0.03  # |x| beyond which the robot is out of the door [m]
WAYPOINT = CLEAR + 0.05  # |x| of the two points before and behind the door [m]

FLOORS = ((0.96, 0.91, 0.80), (0.80, 0.89, 0.95))  # a warm room and a cool one
DOORSTEP = (0.88, 0.90, 0.88)
WALLS = (0.30, 0.33, 0.40)
ROBOT = ((0.86, 0.16, 0.14), (0.35, 0.03, 0.08))
CAMERA = Camera(eye=(0, 0, 3.6), target=(0, 0, 0), up=(0, 1, 0), fov=34.0)


class TwoRoom:
    """The two-room arena."""

    spec = ActionSpec(('twist.linear.x', 'twist.linear.y'), (-SPEED,) * 2, (SPEED,) * 2, DT)

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.world = World(DT / SUBSTEPS, CAMERA)
        _build(self.world)
        self._state: Array = np.zeros(2, np.float32)
        self._goal: Array = np.zeros(2)
        self.set_state(np.array([HALF / 2, 0.0]))

    def reset(self, seed: int) -> Frame:
        """Begin an episode at a random place with a random goal."""
        rng = np.random.default_rng(seed)
        start, goal = self.sample(rng), self.sample(rng)
        self.aim(goal)
        return self.set_state(start)

    def step(self, action: Array) -> Frame:
        """Drive with (vx, vy) [m/s] for one raw step; walls stop the robot."""
        velocity = self.spec.clip(_vector(action, 'action', 'vx, vy'))
        self.world.drive('robot', velocity, FORCE)
        self.world.advance(SUBSTEPS)
        return self._settle(self.world.joints('robot', 2))

    def set_state(self, state: Array) -> Frame:
        """Place the robot at (x, y), at rest."""
        return self._settle(_vector(state, 'state', 'x, y'))

    def set_goal(self, state: Array) -> Frame:
        """Make (x, y) the goal; return how it looks, and leave the robot where it is."""
        here = self._state
        self.aim(state)
        goal = self.set_state(state)
        self._state = here
        self.world.place('robot', here)
        return goal

    def aim(self, state: Array) -> None:
        """Make (x, y) the goal without looking at it."""
        self._goal = _vector(state, 'state', 'x, y')

    def save(self) -> Any:
        """Return where the robot and the goal are."""
        return self._state.copy(), self._goal.copy()

    def restore(self, saved: Any) -> Frame:
        """Put robot and goal back."""
        state, self._goal = saved
        return self.set_state(state)

    def success(self) -> bool:
        """Say whether the robot stands at the goal."""
        return bool(np.linalg.norm(self._state - self._goal) <= REACHED)

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a free place (x, y) in either room."""
        x = rng.uniform(CLEAR, HALF - RADIUS - 0.01) * rng.choice((-1.0, 1.0))
        y = rng.uniform(-1.0, 1.0) * (HALF - RADIUS - 0.01)
        return np.array([x, y], np.float32)

    def expert(self) -> Array:
        """Drive straight to the goal, through the door where a wall is in between."""
        away = self._next_point() - self._state
        velocity = away / DT
        action: Array = velocity * min(1.0, SPEED / max(float(np.abs(velocity).max()), 1e-9))
        return action

    def render(self, size: int) -> Array:
        """Return a large picture (size, size, 3) for people, with smooth edges."""
        fine = self.world.render(2 * size).astype(np.uint16)
        blocks = fine.reshape(size, 2, size, 2, 3)
        picture: Array = (blocks.sum(axis=(1, 3)) // 4).astype(np.uint8)
        return picture

    def close(self) -> None:
        """Free the simulator; legal twice."""
        self.world.close()

    def _settle(self, position: Array) -> Frame:
        """Let the robot stand exactly where it is measured, and look at it."""
        self._state = position.astype(np.float32)  # as states are stored
        self.world.place('robot', self._state)
        return Frame(self.world.render(self.image_size), self._state.copy())

    def _next_point(self) -> Array:
        """Return the goal, or the point before or behind the door that comes first."""
        x, y = self._state
        here, there = np.sign(x) or 1.0, np.sign(self._goal[0]) or 1.0
        goal_in_door = abs(self._goal[0]) < CLEAR and abs(self._goal[1]) < DOOR
        in_door = abs(x) < CLEAR and abs(y) < DOOR
        if in_door:
            return self._goal if goal_in_door else np.array([there * WAYPOINT, 0.0])
        if here == there and not goal_in_door:
            return self._goal
        if abs(y) < 0.04 and abs(x) < WAYPOINT + 0.04:  # before the door: go through
            return self._goal if goal_in_door else np.array([there * WAYPOINT, 0.0])
        return np.array([here * WAYPOINT, 0.0])


def _build(world: World) -> None:
    """Put up floors, walls and the robot."""
    height = 0.09  # half the height of the walls [m]
    for name, side, colour in (('left', -1, FLOORS[0]), ('right', 1, FLOORS[1])):
        half = (HALF / 2, HALF, 0.02)
        world.add_box(f'{name} floor', (side * HALF / 2, 0, -0.02), half, colour, solid=False)
    # Where the floors meet, the renderer would let pixels of either shine through.
    world.add_box('doorstep', (0, 0, 0), (WALL, DOOR, 0.004), DOORSTEP, solid=False)
    for side in (-1, 1):
        edge = side * (HALF + WALL)
        name = 'plus' if side > 0 else 'minus'
        world.add_box(f'wall {name} x', (edge, 0, height), (WALL, HALF + 2 * WALL, height), WALLS)
        world.add_box(f'wall {name} y', (0, edge, height), (HALF, WALL, height), WALLS)
        half = (WALL, (HALF - DOOR) / 2, height)
        world.add_box(f'door {name}', (0, side * (HALF + DOOR) / 2, height), half, WALLS)
    world.add_slider('robot', RADIUS, height=0.12, colours=ROBOT)


def _vector(value: Array, what: str, names: str) -> Array:
    """Check that there are two finite numbers, and return them as float64."""
    try:
        vector = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ArenaError(f'{what}: expected two numbers ({names}), found {value!r}') from None
    if vector.shape != (2,) or not np.isfinite(vector).all():
        raise ArenaError(f'{what}: expected two finite numbers ({names}), found {value!r}')
    return vector

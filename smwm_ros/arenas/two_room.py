# SPDX-License-Identifier: Apache-2.0
"""
A round robot in two rooms joined by a door, seen from above, and the expert that drives it.

State is (x, y) [m] and action is (vx, vy) [m/s], both in the frame of the floor: x to the right
of the image, y upwards, the door at the origin.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.arenas.bodies import slider
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.world import Camera, World
from smwm_ros.core.interfaces import ActionSpec, Array, Frame

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


class TwoRoom(Scene):
    """The two-room arena."""

    spec = ActionSpec(('twist.linear.x', 'twist.linear.y'), (-SPEED,) * 2, (SPEED,) * 2, DT)
    action_names, state_names = 'vx, vy', 'x, y'

    def __init__(self, image_size: int) -> None:
        world = World(DT / SUBSTEPS, CAMERA)
        _build(world)
        super().__init__(world, image_size, np.array([HALF / 2, 0.0]))

    def step(self, action: Array) -> Frame:
        """Drive with (vx, vy) [m/s] for one raw step; walls stop the robot."""
        self.world.drive('robot', self._command(action), FORCE)
        self.world.advance(SUBSTEPS)
        return self._settle(self.world.joints('robot'))

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

    def _place(self, state: Array) -> None:
        """Put the robot at (x, y)."""
        self.world.place('robot', state)

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
    world.add_chain('robot', slider(RADIUS, height=0.12, colours=ROBOT))

# SPDX-License-Identifier: Apache-2.0
"""
Two rooms joined by a door, seen from above, for round robots with any kind of drive.

Positions are (x, y) [m] in the frame of the floor: x points to the right of the image, y upwards,
and the door is at the origin.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.arenas.bodies import CameraSetup
from smwm_ros.arenas.worlds import AnyWorld, make_world
from smwm_ros.interfaces import Array

SPEED = 0.5  # largest velocity of a robot [m/s]
DT = 0.1  # one raw action [s]
SUBSTEPS = 12
FORCE = 200.0  # of the motors: enough to reach any velocity within one physics step [N, Nm]
HALF = 1.0  # half the width of the arena [m]
WALL = 0.03  # half the thickness of a wall [m]
DOOR = 0.2  # half the width of the door [m]
RADIUS = 0.09  # of the robot [m]
HEIGHT = 0.12  # of the robot [m]
REACHED = 16 / 224 * 2 * HALF  # distance at which a goal counts as reached [m]
CLEAR = WALL + RADIUS + 0.03  # |x| beyond which the robot has left the door [m]
BESIDE = WALL + RADIUS - 0.01  # |x| within which the robot may touch the wall [m]
PASSAGE = DOOR - RADIUS + 0.01  # |y| within which it does not, because it is in the door [m]
WAYPOINT = CLEAR + 0.05  # |x| of the two waypoints in front of and behind the door [m]

FLOORS = ((0.96, 0.91, 0.80), (0.80, 0.89, 0.95))  # a warm room and a cool one
DOORSTEP = (0.88, 0.90, 0.88)
WALLS = (0.30, 0.33, 0.40)
ROBOT = ((0.86, 0.16, 0.14), (0.35, 0.03, 0.08))
CAMERA = CameraSetup(eye=(0, 0, 3.6), target=(0, 0, 0), up=(0, 1, 0), fov=34.0)


def make_rooms(engine: str) -> AnyWorld:
    """Return a world with floors and walls."""
    world = make_world(engine, DT / SUBSTEPS, CAMERA)
    height = 0.09  # half the height of the walls [m]
    for name, side, colour in (('left', -1, FLOORS[0]), ('right', 1, FLOORS[1])):
        half = (HALF / 2, HALF, 0.02)
        world.add_box(f'{name} floor', (side * HALF / 2, 0, -0.02), half, colour, solid=False)
    # Covers the seam between the floors, where the renderer mixes their pixels.
    world.add_box('doorstep', (0, 0, 0), (WALL, DOOR, 0.004), DOORSTEP, solid=False)
    for side in (-1, 1):
        edge = side * (HALF + WALL)
        name = 'plus' if side > 0 else 'minus'
        world.add_box(f'wall {name} x', (edge, 0, height), (WALL, HALF + 2 * WALL, height), WALLS)
        world.add_box(f'wall {name} y', (0, edge, height), (HALF, WALL, height), WALLS)
        half = (WALL, (HALF - DOOR) / 2, height)
        world.add_box(f'door {name}', (0, side * (HALF + DOOR) / 2, height), half, WALLS)
    return world


def draw_place(rng: np.random.Generator) -> Array:
    """Draw a free position (2,) in either room."""
    x = rng.uniform(CLEAR, HALF - RADIUS - 0.01) * rng.choice((-1.0, 1.0))
    y = rng.uniform(-1.0, 1.0) * (HALF - RADIUS - 0.01)
    return np.array([x, y])


def distance(place: Array, goal: Array) -> float:
    """Return the distance of two positions (2,); at 1 or less the goal is reached."""
    return float(np.linalg.norm(place - goal) / REACHED)


def next_point(place: Array, goal: Array) -> Array:
    """Return the point (2,) to drive straight to: the goal, or a waypoint at the door."""
    here, there = np.sign(place[0]) or 1.0, np.sign(goal[0]) or 1.0
    behind, before = np.array([there * WAYPOINT, 0.0]), np.array([here * WAYPOINT, 0.0])
    return next((point for point in (goal, behind) if is_free(place, point)), before)


def is_free(place: Array, point: Array) -> bool:
    """Return whether a robot can drive straight from a position (2,) to a point (2,)."""
    x, y = place
    dx, dy = point - place
    # Between these shares of the way, |x| is so small that the robot must be in the door.
    sides = np.array([-BESIDE - x, BESIDE - x]) / (dx or 1e-9)
    enter, leave = np.clip(np.sort(sides), 0.0, 1.0)
    return bool(enter >= leave or max(abs(y + enter * dy), abs(y + leave * dy)) < PASSAGE)

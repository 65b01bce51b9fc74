# SPDX-License-Identifier: Apache-2.0
"""
A round robot with a differential drive in two rooms, and its expert.

The action is (v, omega): forwards [m/s] and anticlockwise [rad/s]. The state is the pose as in
nav_msgs/Odometry: (x, y) [m] and z and w of the quaternion, in the frame of the floor. A goal is a
position: the heading there does not matter.
"""

from __future__ import annotations

from math import atan2, cos, hypot, pi, remainder, sin

import numpy as np
from smwm_ros.arenas.bodies import Link, Part
from smwm_ros.arenas.rooms import (
    distance,
    draw_place,
    DT,
    FORCE,
    HALF,
    HEIGHT,
    make_rooms,
    next_point,
    RADIUS,
    ROBOT,
    SPEED,
    SUBSTEPS,
)
from smwm_ros.arenas.scene import Scene
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import ActionSpec, Array, Frame

TURN = 2.5  # largest angular velocity [rad/s]
NOSE, TAIL = (0.08, 0.18, 0.70), (0.98, 0.80, 0.10)
UNIT = 1e-6  # largest deviation from 1 of the norm of a unit quaternion in float32


class TwoRoomDifferential(Scene):
    """The two-room arena for a differential drive."""

    spec = ActionSpec(('twist.linear.x', 'twist.angular.z'), (-SPEED, -TURN), (SPEED, TURN), DT)
    action_names, state_names = 'v, omega', 'x, y, quaternion z, w'

    def __init__(self, image_size: int, engine: str = 'pybullet') -> None:
        world = make_rooms(engine)
        world.add_chain('robot', _robot())
        super().__init__(world, image_size, np.array([HALF / 2, 0.0, 0.0, 1.0]))

    def step(self, action: Array) -> Frame:
        """Drive with (v, omega) for one raw step; the robot slides along walls."""
        forward, turn = self.clip_action(action)
        for _ in range(SUBSTEPS):  # the heading changes with each substep
            yaw = self.world.joint('robot', 2)
            velocity = (forward * cos(yaw), forward * sin(yaw), turn)
            self.world.set_motors('robot', velocity, FORCE)
            self.world.advance(1)
        x, y, yaw = self.world.joints('robot')
        return self._settle(np.array([x, y, sin(yaw / 2), cos(yaw / 2)]))

    def distance(self) -> float:
        """Return the distance of the robot to the goal."""
        return distance(self._state[:2], self._goal[:2])

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a free position in either room, and a heading."""
        half = rng.uniform(-pi, pi) / 2
        return self._canonical(np.array([*draw_place(rng), sin(half), cos(half)]))

    def expert(self) -> Array:
        """Turn towards the next point, or away from it if that turn is shorter, and drive."""
        x, y = next_point(self._state[:2], self._goal[:2]) - self._state[:2]
        error = remainder(atan2(y, x) - _yaw(self._state), 2 * pi)
        way = 1.0
        if abs(error) > pi / 2:
            error, way = remainder(error + pi, 2 * pi), -1.0
        # Slow until it faces the point: else it would leave the free way, or circle a near point.
        ahead, turn = self.braking.duration(np.array([hypot(x, y), abs(error)]))
        speed = min(SPEED, hypot(x, y) / ahead) * cos(error) ** 20
        return self.spec.clip(np.array([way * speed, error / turn]))

    def _canonical(self, state: Array) -> Array:
        """Return a state with a unit quaternion, of the two equivalent ones that with w >= 0."""
        stored = state.astype(np.float32)
        norm = float(np.linalg.norm(stored[2:].astype(np.float64)))
        if norm < 0.5:
            raise ArenaError(f'state: expected a quaternion of norm 1, found z, w = {stored[2:]}')
        if abs(norm - 1.0) > UNIT:  # a unit quaternion must keep every bit
            stored[2:] = state[2:] / norm
        if stored[3] < 0:
            stored[2:] *= -1
        return stored

    def _place(self, state: Array) -> None:
        """Place the robot at a pose."""
        self.world.place('robot', (state[0], state[1], _yaw(state)))


def _yaw(state: Array) -> float:
    """Return the heading from -pi to pi [rad]; 0 is along x."""
    return 2 * atan2(float(state[2]), float(state[3]))


def _robot() -> list[Link]:
    """Return an upright cylinder that slides and turns, with marks that show its heading."""
    body = Part('cylinder', (RADIUS, HEIGHT), ROBOT[0], at=(0, 0, HEIGHT / 2))
    # Large marks, so that a small image shows the heading.
    nose = Part('box', (0.065, 0.065, 0.02), NOSE, at=(0.065, 0, HEIGHT), solid=False)
    tail = Part('box', (0.045, 0.065, 0.02), TAIL, at=(-0.045, 0, HEIGHT), solid=False)
    return [
        Link('slide', (1, 0, 0), mass=0.1),
        Link('slide', (0, 1, 0), mass=0.1),
        Link('turn', part=body, mass=1.0),
        Link('fixed', part=nose),
        Link('fixed', part=tail),
    ]

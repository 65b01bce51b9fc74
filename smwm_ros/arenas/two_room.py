# SPDX-License-Identifier: Apache-2.0
"""
A round omnidirectional robot in two rooms, and its expert.

The state is (x, y) [m] and the action is (vx, vy) [m/s], both in the frame of the floor.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.arenas.bodies import slider
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
from smwm_ros.interfaces import ActionSpec, Array, Frame


class TwoRoom(Scene):
    """The two-room arena."""

    spec = ActionSpec(('twist.linear.x', 'twist.linear.y'), (-SPEED,) * 2, (SPEED,) * 2, DT)
    action_names, state_names = 'vx, vy', 'x, y'

    def __init__(self, image_size: int, engine: str = 'pybullet') -> None:
        world = make_rooms(engine)
        world.add_chain('robot', slider(RADIUS, HEIGHT, ROBOT))
        super().__init__(world, image_size, np.array([HALF / 2, 0.0]))

    def step(self, action: Array) -> Frame:
        """Drive with (vx, vy) [m/s] for one raw step; walls stop the robot."""
        self.world.set_motors('robot', self.clip_action(action), FORCE)
        self.world.advance(SUBSTEPS)
        return self._settle(self.world.joints('robot'))

    def distance(self) -> float:
        """Return the distance of the robot to the goal."""
        return distance(self._state, self._goal)

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a free position (x, y) in either room."""
        return draw_place(rng).astype(np.float32)

    def expert(self) -> Array:
        """Drive straight to the goal, or through the door if a wall is in between."""
        way = next_point(self._state, self._goal) - self._state
        velocity = way / float(self.braking.duration(float(np.linalg.norm(way))).max())
        action: Array = velocity * min(1.0, SPEED / max(float(np.abs(velocity).max()), 1e-9))
        return action

    def _place(self, state: Array) -> None:
        """Place the robot at (x, y)."""
        self.world.place('robot', state)

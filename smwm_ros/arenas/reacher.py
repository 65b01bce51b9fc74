# SPDX-License-Identifier: Apache-2.0
"""
An arm with two links, seen from above, and its expert.

The state is the two joint angles [rad], and the action the two joint velocities [rad/s], positive
anticlockwise in the image. The shoulder turns without limits; its angle is wrapped to -pi to pi.
The elbow stops before the arm would fold onto itself.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.arenas.bodies import CameraSetup, Link, Part
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.worlds import AnyWorld, make_world
from smwm_ros.interfaces import ActionSpec, Array, Frame

JOINTS = ('shoulder', 'elbow')
SPEED = 1.5  # largest velocity of a joint [rad/s]
DT = 0.1  # one raw action [s]
SUBSTEPS = 12
BEND = 2.6  # the elbow stops at this angle, either way [rad]
LENGTHS = (0.40, 0.36)  # of the links [m]
WIDTHS = (0.075, 0.06)  # of the links, half of each [m]
MASS = 1.0  # of each link [kg]
TORQUE = 200.0  # of the motors: enough to reach any velocity within one physics step [Nm]
REACHED = 0.05  # error of each joint at which a goal counts as reached [rad]
PI = np.float32(np.pi)

TABLE = (0.93, 0.92, 0.88)
POST = (0.25, 0.27, 0.32)
LINKS = ((0.16, 0.36, 0.68), (0.96, 0.62, 0.12))
TIP = (0.82, 0.10, 0.16)
CAMERA = CameraSetup(eye=(0, 0, 2.9), target=(0, 0, 0), up=(0, 1, 0), fov=34.0)


class Reacher(Scene):
    """The arena of the two-link arm."""

    spec = ActionSpec(
        tuple(f'velocity[name={joint}]' for joint in JOINTS), (-SPEED,) * 2, (SPEED,) * 2, DT
    )
    action_names, state_names = 'shoulder, elbow velocity', 'shoulder, elbow angle'

    def __init__(self, image_size: int, engine: str = 'pybullet') -> None:
        world = make_world(engine, DT / SUBSTEPS, CAMERA)
        self._build(world)
        super().__init__(world, image_size, np.array([0.0, 0.5]))

    def step(self, action: Array) -> Frame:
        """Turn the joints [rad/s] for one raw step; the elbow stops at its limits."""
        velocity = self.clip_action(action)
        room = (np.array([-BEND, BEND]) - self._state[1]) / DT
        velocity[1] = np.clip(velocity[1], *room)
        self.world.set_motors('arm', velocity, TORQUE)
        self.world.advance(SUBSTEPS)
        return self._settle(self.world.joints('arm'))

    def distance(self) -> float:
        """Return the larger of the two joint errors."""
        return float(np.abs(self._error()).max() / REACHED)

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw two joint angles."""
        return rng.uniform((-PI, -BEND), (PI, BEND)).astype(np.float32)

    def expert(self) -> Array:
        """Turn each joint to its goal, the shoulder in the shorter direction."""
        error = self._error()
        action: Array = np.clip(error / self.braking.duration(np.abs(error)), -SPEED, SPEED)
        return action

    def _error(self) -> Array:
        """Return the angle (2,) by which each joint must turn [rad]."""
        error = self._goal.astype(np.float64) - self._state
        error[0] = np.remainder(error[0] + np.pi, 2 * np.pi) - np.pi
        return error

    def _canonical(self, state: Array) -> Array:
        """Wrap the shoulder to -pi to pi, and clip the elbow to its limits."""
        angles = state.astype(np.float32)
        if abs(angles[0]) > PI:  # angles in range must keep every bit
            angles[0] = np.remainder(state[0] + np.pi, 2 * np.pi) - np.pi
        angles[1] = np.clip(angles[1], np.float32(-BEND), np.float32(BEND))
        return angles

    def _place(self, state: Array) -> None:
        """Place the arm at its joint angles."""
        self.world.place('arm', state)

    def _build(self, world: AnyWorld) -> None:
        """Add a table with an arm on it."""
        world.add_box('table', (0, 0, -0.02), (1.2, 1.2, 0.02), TABLE, solid=False)
        world.add_chain('arm', self._links())

    @staticmethod
    def _links() -> list[Link]:
        """Return the links of the arm, each above the previous one."""
        upper, fore = LENGTHS
        return [
            Link('turn', part=_bar(upper, WIDTHS[0], LINKS[0]), mass=MASS, at=(0, 0, 0.06)),
            Link('turn', part=_bar(fore, WIDTHS[1], LINKS[1]), mass=MASS, at=(upper, 0, 0.05)),
            Link('fixed', at=(fore, 0, 0.03), part=_disc(0.08, TIP)),
            Link('fixed', at=(0, 0, 0.03), part=_disc(0.08, POST), parent=0),
        ]


def _bar(length: float, half: float, colour: tuple[float, float, float]) -> Part:
    """Return a bar that begins at its joint, with a half width [m]."""
    return Part('box', (length / 2, half, 0.02), colour, at=(length / 2, 0, 0))


def _disc(radius: float, colour: tuple[float, float, float]) -> Part:
    """Return a flat disc that collides with nothing."""
    return Part('cylinder', (radius, 0.03), colour, solid=False)

# SPDX-License-Identifier: Apache-2.0
"""
An arm with two links and torque commands, seen from above, and its expert.

The links are those of the reacher, but their inertia matters: they go on turning after a command,
and one image does not show how fast. The action is the torque of the two joints [Nm], positive
anticlockwise in the image. Each joint is damped, which limits its velocity. The state is the two
joint angles [rad]; an arm that is placed at a state is at rest.
"""

from __future__ import annotations

from math import cos
from typing import Any

import numpy as np
from smwm_ros.arenas.bodies import Link
from smwm_ros.arenas.braking import Braking
from smwm_ros.arenas.reacher import BEND, DT, JOINTS, LENGTHS, MASS, Reacher, SUBSTEPS, WIDTHS
from smwm_ros.interfaces import ActionSpec, Array, Frame

TORQUES = (1.0, 0.4)  # largest torque of shoulder and elbow [Nm]
DAMPING = (0.4, 0.12)  # torque over velocity of the joints [Nms/rad]
REACTION = 0.15  # time in which the expert corrects its velocity [s]
# The expert slows down to stop at its goal: a time constant [s] and a deceleration [rad/s2] that
# the torques reach in any pose.
BRAKING = Braking(0.25, 1.5)


class ReacherTorque(Reacher):
    """The arena of the arm with torques."""

    spec = ActionSpec(
        tuple(f'effort[name={joint}]' for joint in JOINTS),
        tuple(-torque for torque in TORQUES),
        TORQUES,
        DT,
    )
    action_names = 'shoulder, elbow torque'

    def __init__(self, image_size: int, engine: str = 'pybullet') -> None:
        self._velocity: Array = np.zeros(len(JOINTS))  # of the joints [rad/s]
        super().__init__(image_size, engine)

    def step(self, action: Array) -> Frame:
        """Apply torques [Nm] for one raw step; the elbow stops at its limits."""
        self.world.advance_with_forces(SUBSTEPS, 'arm', self.clip_action(action))
        self._velocity = self.world.velocities('arm')
        return self._settle(self.world.joints('arm'))

    def set_state(self, state: Array) -> Frame:
        """Place the arm at a state (2,), at rest."""
        angles = self._vector(state, 'state', self.state_names)
        self._velocity = np.zeros(len(JOINTS))
        return self._settle(angles)

    def set_goal(self, state: Array) -> Frame:
        """Make a state (2,) the goal; return its frame, and change nothing else."""
        velocity = self._velocity
        goal = super().set_goal(state)
        self._velocity = velocity
        self._place(self._state)
        return goal

    def save(self) -> Any:
        """Return state, goal and velocity."""
        return *super().save(), self._velocity.copy()

    def restore(self, saved: Any) -> Frame:
        """Restore state, goal and velocity."""
        *before, velocity = saved
        frame = super().restore(before)
        self._velocity = velocity.copy()
        self._place(self._state)
        return frame

    def expert(self) -> Array:
        """Turn each joint to its goal, braking in time; it reads the true velocities."""
        error = self._error()
        wanted = error / BRAKING.duration(np.abs(error))
        torque = _inertia(float(self._state[1])) @ ((wanted - self._velocity) / REACTION)
        return self.spec.clip(torque + np.array(DAMPING) * self._velocity)

    def _place(self, state: Array) -> None:
        """Place the arm at its joint angles, with its velocities."""
        self.world.place('arm', state, self._velocity)

    @staticmethod
    def _links() -> list[Link]:
        """Return the links of the arm, damped; the elbow has a stop."""
        upper, fore, *others = Reacher._links()
        shoulder, elbow = DAMPING
        return [
            upper._replace(centre=(LENGTHS[0] / 2, 0, 0), damping=shoulder),
            fore._replace(centre=(LENGTHS[1] / 2, 0, 0), damping=elbow, stop=BEND),
            *others,
        ]


def _inertia(bend: float) -> Array:
    """Return the inertia (2, 2) of the arm about its joints at an angle of the elbow [kg m2]."""
    (upper, fore), halves = LENGTHS, np.array(WIDTHS)
    own = MASS / 12 * (np.array(LENGTHS) ** 2 + (2 * halves) ** 2)  # of each about its centre
    elbow = own[1] + MASS * (fore / 2) ** 2
    coupled = MASS * upper * fore / 2 * cos(bend)
    shoulder = own[0] + MASS * ((upper / 2) ** 2 + upper**2) + elbow + 2 * coupled
    return np.array([[shoulder, elbow + coupled], [elbow + coupled, elbow]])

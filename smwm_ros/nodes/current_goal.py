# SPDX-License-Identifier: Apache-2.0
"""The current goal or route: set it, publish when it is accepted and reached."""

from __future__ import annotations

import json
from threading import RLock

import numpy as np
from rclpy.node import Node
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.control.route import Event, GoalTolerance
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.goal_planner import GoalInput, GoalPlanner
from smwm_ros.nodes.messages import LATCHED
from smwm_ros.nodes.planner_thread import PlanReport
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.text import count_of, line
from smwm_ros.training.latent_scale import distance_of
from std_msgs.msg import String

NO_SCALE = (
    'the checkpoint was written by an older version and has no scale of latent distances, so no '
    'goal is reported as reached; run smwm train with its dataset and run folder, which adds the '
    'scale without training'
)


class CurrentGoal:
    """The goal that the planner plans for; methods may be called from any thread."""

    def __init__(
        self,
        node: Node,
        setup: Setup,
        knobs: config.Goal,
        planner: GoalPlanner,
        controller: Controller,
    ) -> None:
        self._node, self._setup = node, setup
        self._planner, self._controller = planner, controller
        self._lock = RLock()
        self.number = 0  # of goals since the activation
        self._source, self._stamp = '', -1.0
        self._places: Array = np.zeros(0)  # images (N, S, S, 3), latents (N, D) or a state
        self._progress = (0, 0, float('nan'))  # subgoal, subgoals, latent distance
        self.tolerance: GoalTolerance | None = None
        self._accepted = node.create_publisher(String, '~/goal/accepted', LATCHED)
        self._reached = node.create_publisher(String, '~/goal/reached', LATCHED)
        self.configure(knobs)
        if self.tolerance is None:
            node.get_logger().warning(NO_SCALE)

    def configure(self, knobs: config.Goal) -> None:
        """Set changed goal parameters."""
        info = self._setup.checkpoint.info
        near, far = distance_of(info, knobs.near), distance_of(info, knobs.far)
        if near is not None and far is not None:
            # With goal.near 0 the goal is never reached, and the robot never stops driving to it.
            self.tolerance = GoalTolerance(near if knobs.near else -1.0, far, knobs.settle)
        self._planner.set_tolerance(self.tolerance, knobs.stay)

    def set(self, goal: GoalInput, source: str, stamp: float = 0.0) -> None:
        """Plan towards a goal or route from now on; source and stamp [s] are published."""
        places = goal.places
        if len(places) > 1 and self.tolerance is None:
            raise ConfigError(f'a route of {count_of(len(places), "subgoal")}: {NO_SCALE}')
        with self._lock:
            self._places, self._stamp, self._source = places, stamp, source
            self._planner.set_goal(goal)
            self._controller.new_goal()
            self.number += 1
            data = {'number': self.number, 'source': source, 'stamp': stamp}
            data['subgoals'] = len(places)
            self._accepted.publish(String(data=json.dumps(data)))

    def is_same_image(self, pixels: Array, stamp: float) -> bool:
        """Return whether the goal is this image (1, S, S, 3) with this stamp [s]."""
        return stamp == self._stamp and np.array_equal(pixels, self._places)

    def is_under_way(self, places: Array, name: str) -> bool:
        """Return whether the robot is on its way to these places of a named goal or topic."""
        under_way = name == self._source and not self._controller.goal_ended
        return under_way and np.array_equal(places, self._places)

    def update(self, report: PlanReport) -> dict[str, int | bool]:
        """Publish when the goal is reached; return the progress for ~/stats."""
        distance = report.plan.distance
        self._progress = (report.subgoal, report.subgoals, distance)
        if report.event is Event.REACHED:
            distance = round(distance, 4)
            data = {'number': self.number, 'source': self._source, 'distance': distance}
            self._reached.publish(String(data=json.dumps(data)))
            text = f'goal reached: {self._source}, latent distance {distance}'
            self._node.get_logger().info(line(text))
        return {'goal': self.number, 'subgoal': report.subgoal, 'subgoals': report.subgoals}

    def picture(self, subgoal: int) -> Array | None:
        """Return a subgoal as an image (S, S, 3), None if it is a latent."""
        places = self._places
        return places[subgoal] if places.ndim == 4 and subgoal < len(places) else None

    def values(self) -> dict[str, float | int]:
        """Return the values for /diagnostics."""
        subgoal, subgoals, distance = self._progress
        return {
            'goals': self.number,
            'subgoal': subgoal,
            'subgoals': subgoals,
            'goal_distance': distance,
            'near_distance': float('nan') if self.tolerance is None else self.tolerance.near,
        }

    def destroy(self) -> None:
        """Destroy the publishers; only from the executor's thread."""
        for publisher in (self._accepted, self._reached):
            self._node.destroy_publisher(publisher)

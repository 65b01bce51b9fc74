# SPDX-License-Identifier: Apache-2.0
"""The current goal or route: set it, publish when it is accepted and reached."""

from __future__ import annotations

import json
import math
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
from rclpy.node import Node
from smwm_ros import config
from smwm_ros.codec.goal_masks import shaded
from smwm_ros.control.controller import Controller
from smwm_ros.control.route import Event, GoalTolerance
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.goal_planner import GoalInput, GoalPlanner
from smwm_ros.nodes.messages import LATCHED
from smwm_ros.nodes.planner_thread import PlanReport
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.planning.guides import tested_time
from smwm_ros.text import count_of, line
from smwm_ros.training.latent_scale import distance_of
from std_msgs.msg import String

NO_SCALE = (
    'the checkpoint was written by an older version and has no scale of latent distances, so no '
    'goal is reported as reached; run smwm train with its dataset and run folder, which adds the '
    'scale without training'
)
NO_TIME = (
    'goal.near_time is not used: the run has no time to go that orders frames better than latent '
    'distance; make one with smwm prepare; until then goal.near decides when a goal is reached'
)


class GoalProgress(NamedTuple):
    """Where the last plan towards the current goal began."""

    subgoal: int = 0
    subgoals: int = 0  # 0 before the first plan
    distance: float = math.nan  # latent
    seconds: float | None = None  # to the goal, if the run has a time to go


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
        self._names: tuple[str, ...] = ()  # of alternative goals
        self._heading = ''  # the one among them that the last plan leads to
        self._mask: Array | None = None  # (S, S) bool of a goal image
        self._places: Array = np.zeros(0)  # images (N, S, S, 3), latents (N, D) or a state
        self.progress = GoalProgress()
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
            near = near if knobs.near else -1.0
            # As with distances: left beyond twice the threshold, and 4 control periods at least.
            far_time = max(2 * knobs.near_time, 4 * self._setup.robot.dt)
            times = (knobs.near_time, far_time) if knobs.near_time else ()
            self.tolerance = GoalTolerance(near, far, knobs.settle, *times)
        if knobs.near_time and tested_time(self._setup.checkpoint) is None:
            self._node.get_logger().warning(NO_TIME)
        self._planner.set_tolerance(self.tolerance, knobs.stay)

    def set(self, goal: GoalInput, source: str, stamp: float = 0.0) -> int:
        """
        Plan towards a goal or route from now on; return its number.

        Source and stamp [s] are published.
        """
        places = goal.places
        if len(places) > 1 and not goal.names and self.tolerance is None:
            raise ConfigError(f'a route of {count_of(len(places), "subgoal")}: {NO_SCALE}')
        with self._lock:
            self._places, self._stamp, self._source = places, stamp, source
            self._names, self._heading = goal.names, ''
            self._mask = None if goal.mask is None else goal.mask.pixels
            self._planner.set_goal(goal)
            self._controller.new_goal()
            self.number += 1
            self.progress = GoalProgress()
            data: dict[str, Any] = {'number': self.number, 'source': source, 'stamp': stamp}
            data['subgoals'] = 1 if goal.names else len(places)
            if goal.names:
                data['alternatives'] = goal.names
            if self._mask is not None:
                data['masked'] = round(float(self._mask.mean()), 4)
            self._accepted.publish(String(data=json.dumps(data)))
            return self.number

    def drop(self, number: int) -> None:
        """Stop the robot until the next goal, unless the goal of this number is replaced."""
        with self._lock:
            if number == self.number:
                # The same goal may come again, and then it is a new one.
                self._places, self._source, self._mask = np.zeros(0), '', None
                self._controller.new_goal(exists=False)

    def is_same_image(self, pixels: Array, mask: Array | None, stamp: float) -> bool:
        """Return whether the goal is this image (1, S, S, 3) with this mask and stamp [s]."""
        same = stamp == self._stamp and np.array_equal(pixels, self._places)
        return same and self._has_mask(mask)

    def is_under_way(self, places: Array, name: str, mask: Array | None = None) -> bool:
        """Return whether the robot is on its way to these places of a named goal or topic."""
        under_way = name == self._source and self._controller.goal_end is None
        under_way &= self._has_mask(mask)
        return under_way and np.array_equal(places, self._places)

    def update(self, report: PlanReport) -> dict[str, Any]:
        """Publish when the goal is reached; return the progress for ~/stats."""
        with self._lock:
            names = self._names
            heading = names[report.subgoal] if report.subgoals == len(names) else ''
            if heading != self._heading:
                self._heading = heading
                text = f'heading for {heading}, the nearest of {count_of(len(names), "goal")}'
                self._node.get_logger().info(line(text))
        distance = report.plan.distance
        seconds = report.plan.seconds_to_go
        with self._lock:
            if report.era == self._controller.era:  # else it is of the goal before
                self.progress = GoalProgress(report.subgoal, report.subgoals, distance, seconds)
        if report.event is Event.REACHED:
            distance = round(distance, 4)
            data: dict[str, float | str | None] = {
                'number': self.number,
                'source': self._source,
                'distance': distance,
                'seconds_to_go': None if seconds is None else round(seconds, 4),
            }
            self._reached.publish(String(data=json.dumps(data)))
            text = f'goal reached: {self._source}, latent distance {distance}'
            if seconds is not None:
                text += f', {seconds:.2f} s away'
            self._node.get_logger().info(line(text))
        progress = {'goal': self.number, 'subgoal': report.subgoal, 'subgoals': report.subgoals}
        return {**progress, 'heading': heading} if names else progress

    def picture(self, subgoal: int) -> Array | None:
        """Return a subgoal as an image (S, S, 3), None if it is a latent."""
        places, mask = self._places, self._mask
        if places.ndim != 4 or subgoal >= len(places):
            return None
        return places[subgoal] if mask is None else shaded(places[subgoal], mask)

    def _has_mask(self, mask: Array | None) -> bool:
        """Return whether the goal has this mask (S, S), or none."""
        if mask is None or self._mask is None:
            return mask is self._mask
        return np.array_equal(mask, self._mask)

    def values(self) -> dict[str, float | int]:
        """Return the values for /diagnostics."""
        subgoal, subgoals, distance, seconds = self.progress
        times: dict[str, float | int] = {}
        if seconds is not None:
            near_time = 0.0 if self.tolerance is None else self.tolerance.near_time
            times = {'seconds_to_go': seconds, 'near_time': near_time}
        return {
            **times,
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

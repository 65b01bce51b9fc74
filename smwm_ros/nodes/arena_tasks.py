# SPDX-License-Identifier: Apache-2.0
"""Publish the task of the arena node: its goal image, its progress, and what was randomised."""

from __future__ import annotations

import json
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image
from smwm_ros.arenas.course import Course
from smwm_ros.codec.images import fill_image
from smwm_ros.config import CAMERA_FRAME
from smwm_ros.nodes.messages import LATCHED
from smwm_ros.nodes.robot_topics import stamped
from std_msgs.msg import String

GOAL_TOPIC = 'goal/image'
_GOAL_DELAY = 2  # ticks from the start of a task until its goal is published


class TaskPublisher:
    """Publishes the goal of a task some ticks after its start, and each change of the task."""

    def __init__(self, node: Node, course: Course) -> None:
        self._course = course
        self._goal = node.create_publisher(Image, GOAL_TOPIC, LATCHED)
        self._task = node.create_publisher(String, '~/task', LATCHED)
        self._randomisation = node.create_publisher(String, '~/randomisation', LATCHED)
        self._last: tuple[Any, ...] = ()  # state of the task that was published last
        self.begin()

    def begin(self) -> None:
        """Begin another task."""
        self._goal_due = _GOAL_DELAY

    @property
    def goal_published(self) -> bool:
        """Return whether the goal of the task was published."""
        return not self._goal_due

    def publish(self, stamp: Any) -> None:
        """Publish what is new after a tick."""
        if self._goal_due:
            self._goal_due -= 1
            if not self._goal_due:
                # By now a planner has an image of the robot at its start.
                goal = fill_image(Image(), self._course.goal.pixels)
                self._goal.publish(stamped(goal, CAMERA_FRAME, stamp))
                if drawn := self._course.drawn():
                    self._randomisation.publish(String(data=json.dumps(drawn)))
        course = self._course
        state = (course.index, course.phase, course.steps, self.goal_published)
        if state != self._last:
            self._last = state
            data = {**course.report(), 'goal_shown': self.goal_published}
            self._task.publish(String(data=json.dumps(data)))

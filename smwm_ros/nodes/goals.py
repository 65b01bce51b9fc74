# SPDX-License-Identifier: Apache-2.0
"""All that the active plan node does with goals: topics, services, names, the current goal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rclpy.lifecycle import LifecycleNode
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.current_goal import CurrentGoal
from smwm_ros.nodes.goal_services import GoalServices
from smwm_ros.nodes.goal_setter import GoalSetter
from smwm_ros.nodes.goal_store import GoalStore
from smwm_ros.nodes.goal_topics import GoalTopics
from smwm_ros.nodes.planner_thread import PlannerThread
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.subscriber import Subscriber
from smwm_ros.share import goals_folder


class Goals:
    """Creates the parts that handle goals, and destroys them."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        knobs: config.Goal,
        clock: WallClock | RosClock,
        planner_thread: PlannerThread,
        controller: Controller,
        camera_image: Callable[[], Array],  # newest (S, S, 3), or raises
        warn: Callable[[str], None],
    ) -> None:
        run = setup.checkpoint.folder
        assert run is not None, 'a checkpoint that a node uses was loaded from a folder'
        folder = Path(knobs.folder) if knobs.folder else goals_folder(run)
        self.subscriber = Subscriber(node, clock, controller, warn, 'goals')
        self.current = CurrentGoal(node, setup, knobs, planner_thread.planner, controller)
        self._store = GoalStore(node, folder, warn)
        self.setter = GoalSetter(setup, self.current, self._store, warn)
        self.topics = GoalTopics(node, self.setter, self.subscriber, warn)
        self._services = GoalServices(
            node, setup, knobs, self.current, self._store, planner_thread, camera_image
        )

    def configure(self, knobs: config.Goal) -> None:
        """Set changed goal parameters."""
        self._services.knobs = knobs
        self.current.configure(knobs)

    def destroy(self) -> None:
        """Destroy services, subscriptions and publishers; only from the executor's thread."""
        self.subscriber.destroy()
        for part in (self._services, self._store, self.current):
            part.destroy()

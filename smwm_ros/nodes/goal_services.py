# SPDX-License-Identifier: Apache-2.0
"""Services that make goals: capture the camera image, record a drive as a route."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from smwm_ros import config
from smwm_ros.control.route import RouteRecorder
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.current_goal import CurrentGoal, NO_SCALE
from smwm_ros.nodes.goal_planner import GoalInput
from smwm_ros.nodes.goal_store import GoalStore
from smwm_ros.nodes.planner_thread import PlannerThread
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.text import count_of
from smwm_ros.training.latent_scale import distance_of
from std_srvs.srv import SetBool, Trigger


class GoalServices:
    """Serves ~/goal/capture and ~/route/record."""

    def __init__(
        self,
        node: Node,
        setup: Setup,
        knobs: config.Goal,
        goal: CurrentGoal,
        store: GoalStore,
        planner_thread: PlannerThread,
        camera_image: Callable[[], Array],  # newest (S, S, 3), or raises
    ) -> None:
        self._node, self._setup, self.knobs = node, setup, knobs
        self._goal, self._store, self._planner_thread = goal, store, planner_thread
        self._camera_image = camera_image
        self._services = [
            node.create_service(Trigger, '~/goal/capture', self._on_capture),
            node.create_service(SetBool, '~/route/record', self._on_record),
        ]

    def destroy(self) -> None:
        """Destroy the services; only from the executor's thread."""
        for service in self._services:
            self._node.destroy_service(service)

    def _on_capture(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Save the camera image as a goal, and set it."""
        try:
            pixels = self._camera_image()[None]
            answer.message = self._store.save(pixels, 'view', self.knobs.save_as)
            self._goal.set(GoalInput(pixels), answer.message)
            answer.success = True
        except Exception as error:  # no request may end the node
            answer.success, answer.message = False, str(error)
        return answer

    def _on_record(self, request: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        """Start to record a drive, or end it and save the route."""
        try:
            answer.message = self._start_recording() if request.data else self._save_recording()
            answer.success = True
        except Exception as error:  # no request may end the node
            answer.success, answer.message = False, str(error)
        return answer

    def _start_recording(self) -> str:
        """Record the images of a drive from now on."""
        spacing = distance_of(self._setup.checkpoint.info, self.knobs.spacing)
        if spacing is None:
            raise ConfigError(f'a route cannot be recorded: {NO_SCALE}')
        before = self._planner_thread.set_recorder(RouteRecorder(spacing))
        return 'recording' if before is None else 'recording; the recording before is discarded'

    def _save_recording(self) -> str:
        """Save the recorded drive as a route."""
        recorder = self._planner_thread.set_recorder(None)
        if recorder is None:
            raise ConfigError('no recording was started; call this service with true first')
        pictures = recorder.route()
        if len(pictures) < 2:
            raise ConfigError('no drive was recorded: the camera images hardly changed')
        name = self._store.save(np.stack(pictures), 'route', self.knobs.save_as)
        return f'{name}: {count_of(len(pictures), "subgoal")}'

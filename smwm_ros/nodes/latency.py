# SPDX-License-Identifier: Apache-2.0
"""Compensate the delays of camera, planner and motors with the record of sent commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from smwm_ros import config
from smwm_ros.codec.stamps import in_seconds
from smwm_ros.control.command_record import CommandRecord, PlanStart
from smwm_ros.control.controller import Controller
from smwm_ros.control.percentiles import Percentiles
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.robot_setup import Setup


class LatencyCompensation:
    """Finds the commands that act between the time of an image and the first planned action."""

    def __init__(
        self,
        node: Node,
        setup: Setup,
        knobs: config.Node,
        clock: WallClock | RosClock,
        controller: Controller,
    ) -> None:
        self._node, self._clock = node, clock
        # In shadow mode the next commands of the other driver are unknown.
        self._planned_action = (lambda time: None) if knobs.shadow else controller.planned_action
        self._trained_delay = setup.checkpoint.dataset.command_delay
        spec = setup.codec.spec
        # With position commands the position before the first one is unknown.
        rest = None if setup.robot.command.stop == 'hold' else np.zeros(spec.size)
        model = setup.checkpoint.model_config
        self._past = (model.context - 1) * setup.checkpoint.action_block  # commands it reads
        self._record = CommandRecord(spec.dt, rest, self._past)
        self.knobs = knobs
        self.camera_ms = Percentiles()  # age of images when they were received
        self.ahead = 0  # raw actions with which the last plan began

    @property
    def actuation(self) -> float:
        """Return the delay between sending a command and its effect [s]."""
        given = self.knobs.actuation_delay
        return self._trained_delay if given < 0 else given

    def image_time(self, message: Any, received: float) -> float:
        """Return when an image was taken [s], as far as known, from its receive time [s]."""
        delay = self.knobs.camera_delay
        if delay < 0:
            # Stamps follow the ROS clock, `received` may follow another one.
            passed = self._clock.now() - received
            ros_received = self._node.get_clock().now().nanoseconds * 1e-9 - passed
            age = ros_received - in_seconds(message.header.stamp)
            # Any other age means that the camera's clock differs from ours.
            delay = age if 0 <= age <= self.knobs.image_timeout else 0.0
        self.camera_ms.add(1e3 * delay)
        return received - delay if self.knobs.compensate else received

    def record(self, action: Array) -> None:
        """Record the action (A,) that is sent to the robot now."""
        self._record.add(self._clock.now(), action)

    def plan_start(
        self,
        tick_for: Callable[[float], float],  # time of the tick for a plan ready at a time [s]
        image_time: float,
        ready: float,  # when the plan is expected [s]
    ) -> PlanStart:
        """Return how a plan begins that is made from an image."""
        if not self.knobs.compensate:
            return self._with_past(PlanStart(image_time))
        begin, tick = image_time - self.actuation, tick_for(ready)
        plan_start = self._record.plan_start(begin, tick, self._planned_action)
        self.ahead = 0 if plan_start.sent is None else len(plan_start.sent)
        return self._with_past(plan_start)

    def _with_past(self, plan_start: PlanStart) -> PlanStart:
        """Add the commands before a plan that the model reads."""
        if not self._past:
            return plan_start
        return plan_start._replace(before=self._record.before(plan_start.start, self._past))

    def acting(self, image_time: float, count: int) -> Array | None:
        """Return the commands (count, A) that act from the time of an image on [s]."""
        return self._record.rows(image_time - self.actuation, count)

    def values(self) -> dict[str, float | int]:
        """Return the values for /diagnostics."""
        return {
            'camera_delay_ms_p50': self.camera_ms.percentile(50),
            'camera_delay_ms_p99': self.camera_ms.percentile(99),
            'actuation_delay_ms': 1e3 * self.actuation,
            'ahead_ticks': self.ahead,
        }

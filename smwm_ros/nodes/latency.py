# SPDX-License-Identifier: Apache-2.0
"""How late the robot is: old images, slow plans, slow motors; and what it was told since."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from smwm_ros import config
from smwm_ros.control.command_record import PlanStart, Record
from smwm_ros.control.controller import Controller
from smwm_ros.control.percentiles import Percentiles
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.command_thread import CommandThread
from smwm_ros.nodes.robot_setup import Setup


class LatencyCompensation:
    """Knows the commands that were sent since an image was taken, and those to come."""

    def __init__(
        self,
        node: Node,
        setup: Setup,
        knobs: config.Node,
        clock: WallClock | RosClock,
        controller: Controller,
    ) -> None:
        self._node, self._clock = node, clock
        # In the shadow nobody knows what the robot will be told next.
        self._foresee = (lambda time: None) if knobs.shadow else controller.foresee
        self._trained = setup.checkpoint.dataset.command_delay
        spec = setup.codec.spec
        # A robot that holds positions is anywhere before the first of them.
        rest = None if setup.robot.command.stop == 'hold' else np.zeros(spec.size)
        self._record = Record(spec.dt, rest)
        self.knobs = knobs
        self.camera_ms = Percentiles()  # how old images were when they came
        self.ahead = 0  # raw actions that the last plan began with

    @property
    def actuation(self) -> float:
        """Return how long after it is sent the robot acts on a command [s]."""
        given = self.knobs.actuation_delay
        return self._trained if given < 0 else given

    def taken(self, message: Any, came: float) -> float:
        """Return when an image that came at a time was taken, as far as that is known."""
        delay = self.knobs.camera_delay
        if delay < 0:
            stamp = message.header.stamp
            # By the clock of stamps, which is not the one of `came`.
            ros_came = self._node.get_clock().now().nanoseconds * 1e-9 - (self._clock.now() - came)
            age = ros_came - (stamp.sec + 1e-9 * stamp.nanosec)
            # A clock that is not ours tells nothing.
            delay = age if 0 <= age <= self.knobs.image_timeout else 0.0
        self.camera_ms.add(1e3 * delay)
        return came - delay if self.knobs.compensate else came

    def note(self, action: Array) -> None:
        """Note what the robot is told now."""
        self._record.note(self._clock.now(), action)

    def plan_start(self, driver: CommandThread, seen: float, ready: float) -> PlanStart:
        """Return how a plan should begin of an image seen, that will be ready at a time."""
        if not self.knobs.compensate:
            return PlanStart(seen)
        begin, tick = seen - self.actuation, driver.tick_for(ready)
        plan_start = self._record.plan_start(begin, tick, self._foresee)
        self.ahead = 0 if plan_start.sent is None else len(plan_start.sent)
        return plan_start

    def values(self) -> dict[str, float | int]:
        """Return what diagnostics tell of it."""
        return {
            'camera_delay_ms_p50': self.camera_ms.percentile(50),
            'camera_delay_ms_p99': self.camera_ms.percentile(99),
            'actuation_delay_ms': 1e3 * self.actuation,
            'ahead_ticks': self.ahead,
        }
